//! A thread with a runtime of its own.

use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// Runs one future in a thread of its own until that is done or this is dropped.
#[derive(Debug)]
pub(crate) struct Host {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// # Panics
    /// If the system gives no thread or no runtime.
    pub(crate) fn start(name: &str, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(async {
                tokio::select! {
                    () = work => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        Self { stop: Some(stop), thread: Some(thread.expect("a thread can be started")) }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed; here may be another one under way.
            let _ = thread.join();
        }
    }
}
