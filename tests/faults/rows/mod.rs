//! The rows of the catalogue, by kind of fault.

mod deaths;

use crate::table::Row;

/// All rows, in the order of the catalogue.
pub(crate) fn all() -> Vec<Row> {
    vec![deaths::r01()]
}
