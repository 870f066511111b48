//! Cells that show a fault of ours which is not mended yet.

/// Names of cells, each with the reason why it fails. A cell that is here and passes is a failure, so that
/// nobody forgets to remove it.
pub(crate) const KNOWN: &[(&str, &str)] = &[
    ("r36_pooled/http_legacy/idle_a_read_after_fin", READ),
    ("r36_pooled/http_modern/idle_a_read_after_fin", READ),
    ("r36_pooled/http_legacy/idle_a_read_after_reset", READ),
    ("r36_pooled/http_modern/idle_a_read_after_reset", READ),
    ("r36_pooled/http_legacy/request_a_read_is_read_and_dropped", READ),
    ("r36_pooled/http_modern/request_a_read_is_read_and_dropped", READ),
    ("r36_pooled/http_legacy/request_a_read_is_read_and_reset", READ),
    ("r36_pooled/http_modern/request_a_read_is_read_and_reset", READ),
];

const READ: &str = "a read on a kept connection that the server closes is not sent again over a new one";
