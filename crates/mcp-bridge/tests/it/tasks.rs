//! Tasks and other extensions. Source: bridging §8, §5.

mod classic;
mod driven;
mod extensions;
mod hosted;
mod own;
mod stateless;
