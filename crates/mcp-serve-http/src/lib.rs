//! An HTTP accept loop with deadlines and an orderly end.
