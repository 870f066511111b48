//! What the wire layer costs on the way of a `tools/call` through a gateway: read it, rename the tool,
//! write it. See `docs/benchmarks.md`.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use mcp_benches::{Failure, print_table};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{Limits, Message, ProtocolVersion, RawJson};
use serde_json::{Value, json};

const GROUP: &str = "tools_call";

/// What is done with a frame.
type Work = fn(&Bytes) -> Result<Bytes, Failure>;

const WAYS: [(&str, Work); 7] = [
    ("copy", copy),
    ("check", check),
    ("parse", parse),
    ("rename", rename),
    ("rename-value", rename_value),
    ("stamp", stamp),
    ("stamp-value", stamp_value),
];

/// The floor: the bytes are moved and not looked at.
fn copy(frame: &Bytes) -> Result<Bytes, Failure> {
    Ok(Bytes::copy_from_slice(frame))
}

/// Limits and grammar, nothing else.
fn check(frame: &Bytes) -> Result<Bytes, Failure> {
    Ok(RawJson::parse(frame.clone(), &Limits::default())?.into_bytes())
}

/// Up to the message, its params left as they are.
fn parse(frame: &Bytes) -> Result<Bytes, Failure> {
    let Message::Request(request) = Message::parse(frame, &Limits::default())? else {
        return Err("not a request".into());
    };
    Ok(request.params.ok_or("no params")?.into_bytes())
}

/// What a gateway does to a call: parse, another name for the tool, encode.
fn rename(frame: &Bytes) -> Result<Bytes, Failure> {
    edit(frame, |params| {
        let mut members = params.members()?;
        members.set_json("name", RawJson::string("read"));
        Ok(members.encode())
    })
}

/// The same by way of a tree of values.
fn rename_value(frame: &Bytes) -> Result<Bytes, Failure> {
    let mut message: Value = serde_json::from_slice(frame)?;
    message["params"]["name"] = "read".into();
    Ok(serde_json::to_vec(&message)?.into())
}

/// Parse, the envelope of the stateless era, encode.
fn stamp(frame: &Bytes) -> Result<Bytes, Failure> {
    let meta = RequestMeta::new(ProtocolVersion::LATEST_STATELESS, ClientCapabilities::default());
    edit(frame, |params| Ok(meta.stamp(Some(params))?))
}

/// The same by way of a tree of values.
fn stamp_value(frame: &Bytes) -> Result<Bytes, Failure> {
    let mut message: Value = serde_json::from_slice(frame)?;
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": ProtocolVersion::LATEST_STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    Ok(serde_json::to_vec(&message)?.into())
}

fn edit(frame: &Bytes, edit: impl FnOnce(&RawJson) -> Result<RawJson, Failure>) -> Result<Bytes, Failure> {
    let mut message = Message::parse(frame, &Limits::default())?;
    let Message::Request(request) = &mut message else { return Err("not a request".into()) };
    let params = request.params.as_ref().ok_or("no params")?;
    request.params = Some(edit(params)?);
    Ok(message.encode())
}

/// Calls of about the size their name says. `text` is one long string, such as a file to write;
/// `records` are many small values, such as rows to insert.
fn inputs() -> Result<Vec<(&'static str, Bytes)>, Failure> {
    let line = "fn main() { println!(\"hello\"); }\n";
    let text =
        |bytes: usize| json!({"path": "src/main.rs", "content": line.repeat(bytes / (line.len() + 3))});
    let record =
        |n: usize| json!({"id": n, "name": format!("row {n}"), "score": 0.5, "tags": ["a", "b"], "ok": true});
    let records = |bytes: usize| json!({"rows": (0..bytes / 65).map(record).collect::<Vec<_>>()});
    let inputs = [
        ("200 B", text(100)),
        ("16 KiB text", text(16 << 10)),
        ("16 KiB records", records(16 << 10)),
        ("1 MiB text", text(1 << 20)),
        ("1 MiB records", records(1 << 20)),
    ];
    let frame = |arguments| {
        json!({
            "jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": "files__read", "arguments": arguments},
        })
    };
    inputs
        .into_iter()
        .map(|(name, arguments)| Ok((name, serde_json::to_vec(&frame(arguments))?.into())))
        .collect()
}

/// The fast way and the plain way must have the same outcome.
fn compare(frame: &Bytes) -> Result<(), Failure> {
    let value = |text: Bytes| serde_json::from_slice::<Value>(&text);
    let same = value(rename(frame)?)? == value(rename_value(frame)?)?
        && value(stamp(frame)?)? == value(stamp_value(frame)?)?;
    if same { Ok(()) } else { Err("two ways of the same edit differ".into()) }
}

fn main() -> Result<(), Failure> {
    let inputs = inputs()?;
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .configure_from_args();
    let mut group = criterion.benchmark_group(GROUP);
    for (name, frame) in &inputs {
        compare(frame)?;
        group.throughput(Throughput::Bytes(frame.len() as u64));
        for (way, work) in WAYS {
            group.bench_with_input(BenchmarkId::new(way, name), frame, |bencher, frame| {
                bencher.iter(|| work(black_box(frame)));
            });
        }
    }
    group.finish();
    criterion.final_summary();
    let ways = WAYS.map(|(way, _)| way);
    let sizes: Vec<_> = inputs.iter().map(|(name, frame)| (*name, frame.len())).collect();
    print_table(GROUP, &ways, &sizes)
}
