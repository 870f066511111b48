//! Requests, and the circuit breaker before them.
