//! Cells that show a fault of ours which is not mended yet.

/// Names of cells, each with the reason why it fails. A cell that is here and passes is a failure, so that
/// nobody forgets to remove it.
pub(crate) const KNOWN: &[(&str, &str)] = &[
    ("r30_noise/stdio_legacy/connect_one_line_without_an_end", ENDLESS),
    ("r30_noise/stdio_modern/connect_one_line_without_an_end", ENDLESS),
    ("r36_pooled/http_legacy/idle_a_read_after_fin", READ),
    ("r36_pooled/http_modern/idle_a_read_after_fin", READ),
    ("r36_pooled/http_legacy/idle_a_read_after_reset", READ),
    ("r36_pooled/http_modern/idle_a_read_after_reset", READ),
    ("r36_pooled/http_legacy/request_a_read_is_read_and_dropped", READ),
    ("r36_pooled/http_modern/request_a_read_is_read_and_dropped", READ),
    ("r36_pooled/http_legacy/request_a_read_is_read_and_reset", READ),
    ("r36_pooled/http_modern/request_a_read_is_read_and_reset", READ),
];

const ENDLESS: &str =
    "output without any line end is reported as a lost connection, not as \"not an MCP server\"";
const READ: &str = "a read on a kept connection that the server closes is not sent again over a new one";
