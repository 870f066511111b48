//! Drives the registry: owns connections, executes calls with failover.
