//! A parsed document whose parts know where they stood. What both formats are read into.

/// A value and the byte offset it starts at. No `Debug`: values may be secrets.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) value: Value,
}

#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// TOML has dates; no key takes one.
    Date,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// One key of a table with its value, in the order of the file.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: usize,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Takes the value of a key out of the table.
    pub(crate) fn take(&mut self, key: &str) -> Option<Entry> {
        let Value::Table(entries) = &mut self.value else { return None };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index))
    }

    /// Where the value at `path` starts; `None` if the path is empty or leads nowhere.
    pub(crate) fn locate(&self, path: &[String]) -> Option<usize> {
        let target = path.iter().try_fold(self, |node, step| node.child(step))?;
        (!path.is_empty()).then_some(target.at)
    }

    /// The value of a key, or the item at a position.
    fn child(&self, step: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(_) => self.entry(step).map(|entry| &entry.node),
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// Removes the entry whose key starts at `key_at`, at any depth. Says whether there was one.
    pub(crate) fn remove(&mut self, key_at: usize) -> bool {
        match &mut self.value {
            Value::Table(entries) => {
                if let Some(index) = entries.iter().position(|entry| entry.key_at == key_at) {
                    entries.remove(index);
                    return true;
                }
                entries.iter_mut().any(|entry| entry.node.remove(key_at))
            }
            Value::List(items) => items.iter_mut().any(|item| item.remove(key_at)),
            _ => false,
        }
    }
}
