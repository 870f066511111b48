//! The parts of documents that are written by commands.

/// `document` with another text between the comments `<!-- NAME -->` and `<!-- /NAME -->`.
pub(crate) fn replace(document: &str, name: &str, text: &str) -> Result<String, String> {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let parts = document.split_once(&start).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let Some((before, (_, after))) = parts else {
        return Err(format!("the document has no part between {} and {end}", start.trim_end()));
    };
    Ok(format!("{before}{start}\n{}\n\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_part_changes() {
        let document = "head\n<!-- a -->\nold\n<!-- /a -->\n<!-- b -->\nkept\n<!-- /b -->\ntail\n";
        let expected = "head\n<!-- a -->\n\nnew\n\n<!-- /a -->\n<!-- b -->\nkept\n<!-- /b -->\ntail\n";
        assert_eq!(replace(document, "a", "new\n"), Ok(expected.to_owned()));
        assert_eq!(replace(expected, "a", "new"), Ok(expected.to_owned()), "and a second time nothing");
        replace(document, "c", "new").unwrap_err();
    }
}
