//! The configuration file: format, validation, defaults.
