//! Programs that listen.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Longer than any of them takes to start, or to shake hands, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a program says where it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announces {
    /// A line with nothing but the URL.
    OnStdout,
    /// A line of the log, with `listening on URL` in it.
    ListeningOnStderr,
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Program {
    /// Its standard input stays open as long, in case it ends with that.
    child: Child,
    url: String,
}

impl Program {
    /// Starts it and waits until it says where it listens. What it writes goes into the file `log`.
    pub(super) fn start(mut command: Command, log: &Path, announces: Announces) -> Result<Self, String> {
        let shown = format!("{command:?}");
        let failed = |error| format!("cannot start {shown}: {error}");
        let file = File::create(log).map_err(failed)?;
        let other = || file.try_clone().map(Stdio::from).map_err(failed);
        command.stdin(Stdio::piped());
        match announces {
            Announces::OnStdout => command.stdout(Stdio::piped()).stderr(other()?),
            Announces::ListeningOnStderr => command.stdout(other()?).stderr(Stdio::piped()),
        };
        let mut child = command.spawn().map_err(failed)?;
        let stream: Option<Box<dyn Read + Send>> = match announces {
            Announces::OnStdout => child.stdout.take().map(|stream| Box::new(stream) as _),
            Announces::ListeningOnStderr => child.stderr.take().map(|stream| Box::new(stream) as _),
        };
        let mut program = Self { child, url: String::new() };
        let (found, url) = sync_channel(1);
        // As long as the program writes, because a stream that nobody reads blocks it once it is full.
        thread::spawn(move || read_along(stream, file, announces, &found));
        program.url = url
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("it does not say where it listens: {}", log.display()))?;
        Ok(program)
    }

    /// Without a slash at the end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, which the results tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_along(stream: Option<impl Read>, mut log: File, announces: Announces, found: &SyncSender<String>) {
    let lines = stream.into_iter().flat_map(|stream| BufReader::new(stream).lines());
    for line in lines.map_while(Result::ok) {
        let text = match announces {
            Announces::OnStdout => Some(&*line),
            Announces::ListeningOnStderr => line.split_once("listening on ").map(|(_, text)| text),
        };
        let url = text.and_then(|text| text.split_whitespace().find(|word| word.starts_with("http://")));
        if let Some(url) = url {
            // Only the first is waited for.
            let _ = found.try_send(url.trim_end_matches('/').to_owned());
        }
        let _ = writeln!(log, "{line}");
    }
}

/// Posts nothing to a path of the program at `base`, and waits for an answer of success.
pub(super) fn post(base: &str, path: &str) -> Result<(), String> {
    let authority = base.trim_start_matches("http://");
    let exchange = || {
        let mut stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    match exchange() {
        Ok(answer) if answer.starts_with("HTTP/1.1 2") => Ok(()),
        Ok(answer) => Err(format!("{path}: {answer}")),
        Err(error) => Err(format!("{path}: {error}")),
    }
}
