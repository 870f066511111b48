//! Server state machine, retry policy, routing and events, without runtime or clock.
