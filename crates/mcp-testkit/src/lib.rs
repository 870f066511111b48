//! Scripted servers, a manual clock and a history recorder for tests.
