//! `completions`: a script for the shell.

use clap_complete::Shell;

use crate::{
    exit::{Error, Exit},
    output::Output,
};

pub(crate) fn run(shell: Shell, mut root: clap::Command, output: &mut Output) -> Result<Exit, Error> {
    let name = root.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut root, name, &mut script);
    output.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
