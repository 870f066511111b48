//! Every definition that has a structure here: examples are read and written back without loss.

use std::collections::BTreeSet;
use std::fmt::Debug;

use mcp_protocol::capability::{ClientCapabilities, ServerCapabilities};
use mcp_protocol::completion::{CompleteParams, CompleteResult, PromptReference, ResourceReference};
use mcp_protocol::content::{
    Annotations, AudioContent, ContentBlock, EmbeddedResource, ImageContent, ResourceLink, Role, TextContent,
    ToolResultContent, ToolUseContent,
};
use mcp_protocol::elicitation::{ElicitParams, ElicitResult, ElicitationCompleteParams};
use mcp_protocol::initialize::{InitializeParams, InitializeResult};
use mcp_protocol::list::Page;
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::prompt::{GetPromptParams, GetPromptResult, Prompt, PromptArgument, PromptMessage};
use mcp_protocol::resource::{
    BlobResourceContents, Icon, ReadResourceParams, ReadResourceResult, Resource, ResourceTemplate,
    ResourceUpdatedParams, SubscribeParams, TextResourceContents,
};
use mcp_protocol::result::{Envelope, InputRequired, Retry};
use mcp_protocol::roots::{ListRootsResult, Root};
use mcp_protocol::sampling::{
    CreateMessageParams, CreateMessageResult, ModelHint, ModelPreferences, SamplingMessage, ToolChoice,
};
use mcp_protocol::subscription::{AcknowledgedParams, ListenParams, SubscriptionFilter};
use mcp_protocol::task::{CreateTaskResult, Task, TaskMetadata, TaskReference, TaskStatus};
use mcp_protocol::tool::{CallToolParams, CallToolResult, Tool, ToolAnnotations, ToolExecution};
use mcp_protocol::{InvalidJson, Method, ProtocolVersion, RawJson, RequestId};
use mcp_protocol::{cancel, discover, implementation, logging, progress};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::files::{assert_valid, schemas};
use crate::generate::Generator;
use crate::messages::is_message;

/// Examples per definition and revision.
pub(crate) const EXAMPLES: u64 = 30;

/// What can be done with a structure without naming its type.
#[derive(Clone, Copy)]
pub(crate) struct Structure {
    /// Reads a value and writes it back.
    round_trip: fn(&RawJson) -> Result<RawJson, InvalidJson>,
    /// Reads a value and shows what became of it.
    show: fn(&RawJson) -> String,
}

fn through<T: DeserializeOwned + Serialize + Debug>() -> Structure {
    Structure {
        round_trip: |raw| RawJson::encode(&raw.to::<T>()?),
        show: |raw| format!("{:?}", raw.to::<T>().unwrap()),
    }
}

/// The structure of a definition; `None` if it has none.
fn structure(definition: &str) -> Option<Structure> {
    Some(match definition {
        "Annotations" => through::<Annotations>(),
        "AudioContent" => through::<AudioContent>(),
        "BlobResourceContents" => through::<BlobResourceContents>(),
        "CallToolRequestParams" => through::<CallToolParams>(),
        "CallToolResult" => through::<CallToolResult>(),
        "CancelTaskResult" | "GetTaskResult" | "Task" | "TaskStatusNotificationParams" => through::<Task>(),
        "CancelledNotificationParams" => through::<cancel::CancelledParams>(),
        "ClientCapabilities" => through::<ClientCapabilities>(),
        "CompleteRequestParams" => through::<CompleteParams>(),
        "CompleteResult" => through::<CompleteResult>(),
        "ContentBlock" | "SamplingMessageContentBlock" => through::<ContentBlock>(),
        "CreateMessageRequestParams" => through::<CreateMessageParams>(),
        "CreateMessageResult" => through::<CreateMessageResult>(),
        "CreateTaskResult" => through::<CreateTaskResult>(),
        "DiscoverResult" => through::<discover::DiscoverResult>(),
        "ElicitRequestFormParams" | "ElicitRequestParams" | "ElicitRequestURLParams" => {
            through::<ElicitParams>()
        }
        "ElicitResult" => through::<ElicitResult>(),
        "EmbeddedResource" => through::<EmbeddedResource>(),
        "GetPromptRequestParams" => through::<GetPromptParams>(),
        "GetPromptResult" => through::<GetPromptResult>(),
        "Icon" => through::<Icon>(),
        "ImageContent" => through::<ImageContent>(),
        "Implementation" => through::<implementation::Implementation>(),
        "InitializeRequestParams" => through::<InitializeParams>(),
        "InitializeResult" => through::<InitializeResult>(),
        "ListRootsResult" => through::<ListRootsResult>(),
        "LoggingLevel" => through::<logging::LogLevel>(),
        "LoggingMessageNotificationParams" => through::<logging::LogMessageParams>(),
        "ModelHint" => through::<ModelHint>(),
        "ModelPreferences" => through::<ModelPreferences>(),
        "ProgressNotificationParams" => through::<progress::ProgressParams>(),
        "ProgressToken" | "RequestId" => through::<RequestId>(),
        "Prompt" => through::<Prompt>(),
        "PromptArgument" => through::<PromptArgument>(),
        "PromptMessage" => through::<PromptMessage>(),
        "PromptReference" => through::<PromptReference>(),
        "ReadResourceRequestParams" => through::<ReadResourceParams>(),
        "ReadResourceResult" => through::<ReadResourceResult>(),
        "RelatedTaskMetadata" => through::<TaskReference>(),
        "RequestMetaObject" => Structure { round_trip: request_meta, show: |_| String::new() },
        "Resource" => through::<Resource>(),
        "ResourceLink" => through::<ResourceLink>(),
        "ResourceReference" | "ResourceTemplateReference" => through::<ResourceReference>(),
        "ResourceTemplate" => through::<ResourceTemplate>(),
        "ResourceUpdatedNotificationParams" => through::<ResourceUpdatedParams>(),
        "Role" => through::<Role>(),
        "Root" => through::<Root>(),
        "SamplingMessage" => through::<SamplingMessage>(),
        "ServerCapabilities" => through::<ServerCapabilities>(),
        "SetLevelRequestParams" => through::<logging::SetLevelParams>(),
        "SubscribeRequestParams" | "UnsubscribeRequestParams" => through::<SubscribeParams>(),
        "SubscriptionFilter" => through::<SubscriptionFilter>(),
        "SubscriptionsAcknowledgedNotificationParams" => through::<AcknowledgedParams>(),
        "SubscriptionsListenRequestParams" => through::<ListenParams>(),
        "TaskMetadata" => through::<TaskMetadata>(),
        "TaskStatus" => through::<TaskStatus>(),
        "TextContent" => through::<TextContent>(),
        "TextResourceContents" => through::<TextResourceContents>(),
        "Tool" => through::<Tool>(),
        "ToolAnnotations" => through::<ToolAnnotations>(),
        "ToolChoice" => through::<ToolChoice>(),
        "ToolExecution" => through::<ToolExecution>(),
        "ToolResultContent" => through::<ToolResultContent>(),
        "ToolUseContent" => through::<ToolUseContent>(),
        _ => return None,
    })
}

/// The structure of a method's params.
pub(crate) fn params_structure(method: &Method) -> Option<Structure> {
    structure(match method {
        Method::Initialize => "InitializeRequestParams",
        Method::ToolsCall => "CallToolRequestParams",
        Method::ResourcesRead => "ReadResourceRequestParams",
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => "SubscribeRequestParams",
        Method::PromptsGet => "GetPromptRequestParams",
        Method::CompletionComplete => "CompleteRequestParams",
        Method::LoggingSetLevel => "SetLevelRequestParams",
        Method::SubscriptionsListen => "SubscriptionsListenRequestParams",
        Method::SamplingCreateMessage => "CreateMessageRequestParams",
        Method::ElicitationCreate => "ElicitRequestParams",
        Method::TasksGet | Method::TasksResult | Method::TasksCancel => "RelatedTaskMetadata",
        Method::Cancelled => "CancelledNotificationParams",
        Method::Progress => "ProgressNotificationParams",
        Method::LogMessage => "LoggingMessageNotificationParams",
        Method::ResourcesUpdated => "ResourceUpdatedNotificationParams",
        Method::TasksStatus => "TaskStatusNotificationParams",
        Method::SubscriptionsAcknowledged => "SubscriptionsAcknowledgedNotificationParams",
        Method::ElicitationComplete => {
            return Some(through::<ElicitationCompleteParams>());
        }
        _ => return None,
    })
}

/// The metadata is read from params and stamped onto the same params.
fn request_meta(meta: &RawJson) -> Result<RawJson, InvalidJson> {
    let params = RawJson::encode(&json!({ "_meta": meta.to::<Value>()? }))?;
    let read = RequestMeta::read(Some(&params)).unwrap_or_else(|error| panic!("{error}: {meta:?}"));
    Ok(read.stamp(Some(&params))?.get("_meta").unwrap())
}

/// Definitions without a structure of their own, and why that is right.
const WITHOUT_STRUCTURE: &[(&str, &[&str])] = &[
    ("bases that other definitions repeat", &["Annotated", "BaseMetadata", "Icons", "ResourceContents"]),
    (
        "results read as an envelope or a page",
        &[
            "CacheableResult",
            "ClientResult",
            "EmptyResult",
            "GetTaskPayloadResult",
            "InputRequiredResult",
            "ListPromptsResult",
            "ListResourceTemplatesResult",
            "ListResourcesResult",
            "ListTasksResult",
            "ListToolsResult",
            "PaginatedResult",
            "Result",
            "ResultType",
            "ServerResult",
            "SubscriptionsListenResult",
        ],
    ),
    (
        "params that are metadata and a cursor or less",
        &[
            "NotificationParams",
            "PaginatedRequestParams",
            "RequestParams",
            "ResourceRequestParams",
            "TaskAugmentedRequestParams",
        ],
    ),
    (
        "parts of the input round trip, read by it",
        &["InputRequest", "InputRequests", "InputResponse", "InputResponseRequestParams", "InputResponses"],
    ),
    (
        "metadata that stays raw",
        &["MetaObject", "NotificationMetaObject", "ResultMetaObject", "SubscriptionsListenResultMetaObject"],
    ),
    (
        "schemas of forms, which stay raw",
        &[
            "BooleanSchema",
            "EnumSchema",
            "LegacyTitledEnumSchema",
            "MultiSelectEnumSchema",
            "NumberSchema",
            "PrimitiveSchemaDefinition",
            "SingleSelectEnumSchema",
            "StringSchema",
            "TitledMultiSelectEnumSchema",
            "TitledSingleSelectEnumSchema",
            "UntitledMultiSelectEnumSchema",
            "UntitledSingleSelectEnumSchema",
        ],
    ),
    (
        "error objects, kept raw by `RpcError`",
        &[
            "Error",
            "InternalError",
            "InvalidParamsError",
            "InvalidRequestError",
            "MethodNotFoundError",
            "ParseError",
        ],
    ),
    ("plain JSON", &["Cursor", "JSONArray", "JSONObject", "JSONValue"]),
];

#[test]
fn examples_of_every_structure_survive() {
    let Some(schemas) = schemas() else { return };
    let mut checked = 0;
    for schema in schemas {
        for name in schema.definitions().keys() {
            let Some(structure) = structure(name) else { continue };
            let validator = schema.validator(name);
            for seed in 0..EXAMPLES {
                let what = format!("{} {name}, seed {seed}", schema.version);
                let example = Generator::new(schema, seed).definition(name);
                assert_valid(&validator, &what, &example);
                assert_survives(&what, structure, &example);
                checked += 1;
            }
        }
    }
    assert!(checked > 200 * EXAMPLES, "only {checked} examples");
}

pub(crate) fn assert_survives(what: &str, structure: Structure, example: &Value) {
    let raw = RawJson::encode(example).unwrap();
    let written = (structure.round_trip)(&raw).unwrap_or_else(|error| panic!("{what}: {error}\n{example:#}"));
    assert_eq!(written.to::<Value>().unwrap(), raw.to::<Value>().unwrap(), "{what}");
}

/// Members that another module reads from the same object: `result::Envelope` and `result::Retry`.
const READ_ELSEWHERE: [&str; 5] = ["resultType", "ttlMs", "cacheScope", "inputResponses", "requestState"];

#[test]
fn every_member_in_the_schema_has_a_field() {
    let Some(schemas) = schemas() else { return };
    for schema in schemas {
        for name in schema.definitions().keys() {
            let Some(structure) = structure(name) else { continue };
            for seed in 0..EXAMPLES {
                let mut example = Generator::complete(schema, seed).definition(name);
                if let Value::Object(members) = &mut example {
                    members.retain(|name, _| !READ_ELSEWHERE.contains(&name.as_str()));
                }
                let shown = (structure.show)(&RawJson::encode(&example).unwrap());
                for fallback in ["Unknown({\"", "Other({"] {
                    assert!(!shown.contains(fallback), "{} {name}: {shown}\n{example:#}", schema.version);
                }
            }
        }
    }
}

#[test]
fn no_definition_is_forgotten() {
    let Some(schemas) = schemas() else { return };
    let excused: BTreeSet<_> =
        WITHOUT_STRUCTURE.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let mut seen = BTreeSet::new();
    for schema in schemas {
        for name in schema.definitions().keys() {
            seen.insert(name.as_str());
            let ways = [structure(name).is_some(), is_message(name), excused.contains(name.as_str())];
            let covered = ways.into_iter().filter(|way| *way).count();
            assert_eq!(covered, 1, "{}: {name} is covered in {covered} ways", schema.version);
        }
    }
    let gone: Vec<_> = excused.difference(&seen).collect();
    assert!(gone.is_empty(), "no revision has {gone:?}");
}

#[test]
fn pages_of_every_list_survive() {
    let Some(schemas) = schemas() else { return };
    for (name, method, member) in [
        ("ListToolsResult", Method::ToolsList, "tools"),
        ("ListPromptsResult", Method::PromptsList, "prompts"),
        ("ListResourcesResult", Method::ResourcesList, "resources"),
        ("ListResourceTemplatesResult", Method::ResourceTemplatesList, "resourceTemplates"),
        ("ListTasksResult", Method::TasksList, "tasks"),
        ("ListRootsResult", Method::RootsList, "roots"),
    ] {
        for schema in schemas.iter().filter(|schema| schema.definition(name).is_some()) {
            for seed in 0..EXAMPLES {
                let what = format!("{} {name}, seed {seed}", schema.version);
                let raw = RawJson::encode(&Generator::new(schema, seed).definition(name)).unwrap();
                let page = Page::read(&method, &raw).unwrap_or_else(|error| panic!("{what}: {error}"));
                let written: Value = page.encode(&method).unwrap().to().unwrap();
                let example: Value = raw.to().unwrap();
                assert_eq!(written[member], example[member], "{what}");
                assert_eq!(written.get("nextCursor"), example.get("nextCursor"), "{what}");
            }
        }
    }
}

#[test]
fn envelopes_of_every_stateless_result_survive() {
    let Some(schemas) = schemas() else { return };
    let schema = schemas.iter().find(|schema| schema.version == ProtocolVersion::V2026_07_28).unwrap();
    let mut checked = 0;
    let results = schema
        .definitions()
        .iter()
        .filter(|(_, definition)| definition["properties"].get("resultType").is_some());
    for (name, definition) in results {
        for seed in 0..EXAMPLES {
            let what = format!("{name}, seed {seed}");
            let raw = RawJson::encode(&Generator::new(schema, seed).definition(name)).unwrap();
            let envelope = Envelope::read(&raw).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(
                json!(envelope.result_type),
                raw.get("resultType").unwrap().to::<Value>().unwrap(),
                "{what}"
            );
            assert_eq!(envelope.caching.is_some(), definition["properties"].get("ttlMs").is_some(), "{what}");
            let stripped = Envelope::strip(&raw).unwrap();
            assert!(
                ["resultType", "ttlMs", "cacheScope"].iter().all(|name| stripped.get(name).is_none()),
                "{what}"
            );
            let stamped: Value = envelope.stamp(&stripped, None).unwrap().to().unwrap();
            let mut example: Value = raw.to().unwrap();
            for (object, member) in [("", "ttlMs"), ("/_meta", mcp_protocol::meta::SERVER_INFO)] {
                if let Some(Value::Object(members)) = example.pointer_mut(object) {
                    members.remove(member);
                }
            }
            let mut rest = stamped;
            rest.as_object_mut().unwrap().remove("ttlMs");
            if example["_meta"] == json!({}) && rest.get("_meta").is_none() {
                example.as_object_mut().unwrap().remove("_meta");
            }
            assert_eq!(rest, example, "{what}");
            checked += 1;
        }
    }
    assert!(checked >= 10 * EXAMPLES, "only {checked} examples");
}

#[test]
fn the_input_round_trip_survives() {
    let Some(schemas) = schemas() else { return };
    let schema = schemas.iter().find(|schema| schema.version == ProtocolVersion::V2026_07_28).unwrap();
    let mut asked = 0;
    for seed in 0..4 * EXAMPLES {
        let mut example = Generator::new(schema, seed).definition("InputRequiredResult");
        example["resultType"] = json!("input_required");
        let raw = RawJson::encode(&example).unwrap();
        let example: Value = raw.to().unwrap();
        let Ok(read) = InputRequired::read(&raw) else {
            assert!(
                example.get("inputRequests").is_none() && example.get("requestState").is_none(),
                "seed {seed}"
            );
            continue;
        };
        let written: Value = read.encode().to().unwrap();
        schema.assert_valid("InputRequiredResult", &written);
        assert_eq!(written.get("requestState"), example.get("requestState"), "seed {seed}");
        for request in &read.requests {
            let (found, sent) =
                (&written["inputRequests"][&*request.key], &example["inputRequests"][&*request.key]);
            assert_eq!(
                (&found["method"], &found["params"]),
                (&sent["method"], &sent["params"]),
                "seed {seed}"
            );
            if let (Some(structure), Some(params)) = (params_structure(&request.method), &request.params) {
                assert_survives(&format!("seed {seed}"), structure, &params.to().unwrap());
            }
            asked += 1;
        }

        let params =
            RawJson::encode(&Generator::new(schema, seed).definition("InputResponseRequestParams")).unwrap();
        let retry = Retry::read(&params).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let stamped: Value =
            retry.stamp(Some(&Retry::default().stamp(Some(&params)).unwrap())).unwrap().to().unwrap();
        let mut expected: Value = params.to().unwrap();
        if expected["inputResponses"] == json!({}) {
            expected.as_object_mut().unwrap().remove("inputResponses");
        }
        assert_eq!(stamped, expected, "seed {seed}");
    }
    assert!(asked > EXAMPLES, "only {asked} questions");
}
