//! The command line: clap commands over the REST API.
