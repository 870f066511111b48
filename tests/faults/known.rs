//! Cells that show a fault of ours which is not mended yet.

/// Names of cells, each with the reason why it fails. A cell that is here and passes is a failure, so that
/// nobody forgets to remove it.
pub(crate) const KNOWN: &[(&str, &str)] = &[];
