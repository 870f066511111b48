//! Lists in pages.

use mcp_protocol::RpcError;
use serde::Deserialize;

use crate::answer::invalid_params;

/// The params of every list method.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ListParams {
    cursor: Option<String>,
}

impl ListParams {
    /// One page of `entries`, and the cursor of the next one if there is more.
    ///
    /// A cursor says where a page starts. One that this list cannot have produced is refused.
    pub(crate) fn page<T>(self, entries: Vec<T>, size: usize) -> Result<(Vec<T>, Option<String>), RpcError> {
        let size = size.max(1);
        let start = match self.cursor {
            None => 0,
            Some(cursor) => read_cursor(&cursor)
                .filter(|start| *start > 0 && *start < entries.len())
                .ok_or_else(|| invalid_params("the cursor is not one of this list"))?,
        };
        let end = start.saturating_add(size);
        let next = (end < entries.len()).then(|| format!("at-{end}"));
        Ok((entries.into_iter().skip(start).take(size).collect(), next))
    }
}

fn read_cursor(cursor: &str) -> Option<usize> {
    cursor.strip_prefix("at-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_lead_through_all_entries_once() {
        for (len, size) in [(0, 5), (1, 5), (5, 5), (6, 5), (13, 5), (3, 1), (3, 0)] {
            let (mut seen, mut cursor) = (Vec::new(), None);
            for _ in 0..=len {
                let params = ListParams { cursor };
                let (page, next) = params.page((0..len).collect(), size).unwrap();
                assert!(page.len() <= size.max(1));
                seen.extend(page);
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, (0..len).collect::<Vec<_>>(), "{len} entries in pages of {size}");
        }
    }

    #[test]
    fn foreign_cursors_are_refused() {
        for cursor in ["", "at-", "at-0", "at-7", "at--1", "5", "at-99999999999999999999"] {
            let params = ListParams { cursor: Some(cursor.into()) };
            assert!(params.page(vec![0; 7], 5).is_err(), "{cursor:?}");
        }
    }
}
