//! Which tests were skipped, from what they printed.

use std::collections::BTreeSet;

/// What a test prints, at the start of a line, when it cannot run here: `SKIPPED: name: what to install`.
const MARK: &str = "SKIPPED: ";

/// The skipped tests that plain test output reports.
pub(crate) fn from_output(output: &str) -> BTreeSet<String> {
    output.lines().filter_map(|line| line.trim_end().strip_prefix(MARK)).map(str::to_owned).collect()
}

/// The skipped tests that a JUnit report holds in its `system-out` and `system-err` elements.
pub(crate) fn from_junit(report: &str) -> BTreeSet<String> {
    let elements = [("<system-out>", "</system-out>"), ("<system-err>", "</system-err>")];
    let texts = elements
        .into_iter()
        .flat_map(|(start, end)| report.split(start).skip(1).filter_map(move |rest| rest.split(end).next()));
    texts.flat_map(|text| from_output(&unescape(text))).collect()
}

fn unescape(xml: &str) -> String {
    // `&amp;` last, or `&amp;lt;` would be decoded twice.
    xml.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_searched_by_line_and_duplicates_fold() {
        let output = "running 2 tests\nSKIPPED: time: install python3\n  SKIPPED: not at the start\n\
                      SKIPPED: memory: install npm\r\nSKIPPED: time: install python3\n";
        let found: Vec<_> = from_output(output).into_iter().collect();
        assert_eq!(found, ["memory: install npm", "time: install python3"]);
    }

    #[test]
    fn a_report_is_searched_in_test_output_only_and_decoded() {
        let report = "<testcase name=\"SKIPPED: no\">\n<system-out>\nrunning 1 test\n\
                      SKIPPED: a: &lt;b&gt; &amp;lt; &quot;c&quot;\n</system-out>\nSKIPPED: outside\n\
                      <system-out>SKIPPED: d: e</system-out>\n<system-err>\nSKIPPED: f: g\n</system-err>\n\
                      SKIPPED: outside, too</testcase>";
        let found: Vec<_> = from_junit(report).into_iter().collect();
        assert_eq!(found, ["a: <b> &lt; \"c\"", "d: e", "f: g"]);
    }
}
