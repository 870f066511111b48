//! Names that clients see, and whose they are.
