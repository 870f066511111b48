//! A process that does what `mcp_testkit::fault` tells it, as a server over stdio that fails.
//!
//! Its only argument is the address to connect to; the protocol is described in the module `stdio` there. It ends
//! when that connection does.

#[cfg(unix)]
mod puppet {
    use std::fs::{File, OpenOptions};
    use std::io::{self, Read, Write};
    use std::net::TcpStream;
    use std::process::ExitCode;
    use std::sync::mpsc;

    use rustix::process::{Signal, getpid, kill_process};

    /// Does what it is told.
    pub(crate) fn run() -> ExitCode {
        match play() {
            Ok(status) => status,
            // Nobody tells it anything any more.
            Err(_) => ExitCode::SUCCESS,
        }
    }

    fn play() -> io::Result<ExitCode> {
        let address = std::env::args().nth(1).ok_or(io::ErrorKind::InvalidInput)?;
        let mut control = TcpStream::connect(address)?;
        control.set_nodelay(true)?;

        let (grant, grants) = mpsc::sync_channel::<()>(16);
        let report = control.try_clone()?;
        std::thread::spawn(move || read_stdin(&grants, report));

        // Not the standard library's handle, which keeps the last line back.
        let mut stdout = File::from(rustix::stdio::stdout().try_clone_to_owned()?);
        loop {
            let mut head = [0; 5];
            control.read_exact(&mut head)?;
            let [letter, length @ ..] = head;
            let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
            control.read_exact(&mut bytes)?;
            match letter {
                b'r' => grant.send(()).map_err(io::Error::other)?,
                b'o' => stdout.write_all(&bytes)?,
                b'e' => io::stderr().write_all(&bytes)?,
                b'c' => {
                    let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
                    rustix::stdio::dup2_stdout(&nowhere)?;
                    stdout = nowhere;
                }
                b'x' => return Ok(ExitCode::from(bytes.first().copied().unwrap_or_default())),
                b'k' => kill_process(getpid(), Signal::KILL)?,
                b's' => kill_process(getpid(), Signal::STOP)?,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Sends what is read from stdin, one read for each grant.
    fn read_stdin(grants: &mpsc::Receiver<()>, mut report: TcpStream) {
        let mut stdin = io::stdin();
        let mut chunk = vec![0; 64 << 10];
        while grants.recv().is_ok() {
            let read = stdin.read(&mut chunk).unwrap_or(0);
            let length = u32::try_from(read).unwrap_or(0).to_be_bytes();
            let sent = report.write_all(&[&length[..], &chunk[..read]].concat());
            if read == 0 || sent.is_err() {
                return;
            }
        }
    }
}

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    puppet::run()
}

/// Signals are what it is about.
#[cfg(not(unix))]
fn main() {}
