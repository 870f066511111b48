//! What the figures were measured on.

/// Processors and system; `None` where the system does not tell (only Linux does).
pub(crate) fn description() -> Option<String> {
    let processors = std::thread::available_parallelism().ok()?;
    let model = model(&std::fs::read_to_string("/proc/cpuinfo").ok()?)?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let version = release.trim().split('-').next()?.to_owned();
    Some(format!("{processors} processors ({model}), Linux {version}, release profile"))
}

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: AMD EPYC\nflags\t: a b\n").as_deref(),
            Some("AMD EPYC")
        );
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
