//! What this crate writes is valid in the revision it is written for.

use std::time::Duration;

use mcp_protocol::capability::{ClientCapabilities, ServerCapabilities};
use mcp_protocol::content::ContentBlock;
use mcp_protocol::implementation::Implementation;
use mcp_protocol::initialize::{InitializeParams, InitializeResult};
use mcp_protocol::list::{Page, params_at};
use mcp_protocol::logging::{LogLevel, LogMessageParams};
use mcp_protocol::meta::{self, RequestMeta};
use mcp_protocol::result::{CacheScope, Caching, Envelope, InputRequest, InputRequired, Retry};
use mcp_protocol::tool::{CallToolResult, Tool};
use mcp_protocol::{
    Era, ErrorCode, Failure, Message, Method, Notification, Number, ProtocolVersion, RawJson, Request,
    RequestId, Response, RpcError, cancel, progress, subscription,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::files::{Schema, schemas};

fn raw(value: &(impl Serialize + ?Sized)) -> RawJson {
    RawJson::encode(value).unwrap()
}

fn value(message: Message) -> Value {
    serde_json::from_slice(&message.encode()).unwrap()
}

fn request(method: Method, params: Option<RawJson>) -> Value {
    value(Message::Request(Request { id: RequestId::from("r-1"), method, params }))
}

fn client() -> ClientCapabilities {
    ClientCapabilities::from_raw(raw(&json!({
        "roots": { "listChanged": true },
        "sampling": { "context": {}, "tools": {} },
        "elicitation": { "form": {}, "url": {} },
        "tasks": { "list": {}, "requests": { "elicitation": { "create": {} } } },
        "experimental": { "a": {} },
    })))
    .unwrap()
}

fn server() -> ServerCapabilities {
    ServerCapabilities::from_raw(raw(&json!({
        "tools": { "listChanged": true },
        "resources": { "listChanged": true, "subscribe": true },
        "completions": {},
        "tasks": { "list": {} },
    })))
    .unwrap()
}

fn sender() -> RequestMeta {
    let mut meta =
        RequestMeta::new(ProtocolVersion::V2026_07_28, client().clip(ProtocolVersion::V2026_07_28));
    meta.client_info = Some(raw(&Implementation::new("client", "1.0")));
    meta.log_level = Some(LogLevel::Info);
    meta.progress_token = Some(7.into());
    meta
}

fn each(era: Era) -> Vec<&'static Schema> {
    schemas().unwrap_or_default().iter().filter(|schema| schema.version.era() == era).collect()
}

#[test]
fn handshakes_are_valid() {
    for schema in each(Era::Handshake) {
        let version = schema.version;
        let params = InitializeParams::new(
            version.as_str(),
            client().clip(version),
            Implementation::new("client", "1.0"),
        );
        schema.assert_valid("InitializeRequest", &request(Method::Initialize, Some(raw(&params))));
        let mut result = InitializeResult::new(
            version.as_str(),
            server().clip(version),
            Implementation::new("server", "1.0"),
        );
        result.instructions = Some("be kind".into());
        schema.assert_valid("InitializeResult", &json!(result));
        let initialized = Notification { method: Method::Initialized, params: None };
        schema.assert_valid("InitializedNotification", &value(Message::Notification(initialized)));
        schema.assert_valid("PingRequest", &request(Method::Ping, None));
    }
}

#[test]
fn requests_of_the_stateless_era_are_valid() {
    let listen = subscription::ListenParams::new(subscription::SubscriptionFilter::new());
    for schema in each(Era::Stateless) {
        for (definition, method, params) in [
            ("DiscoverRequest", Method::ServerDiscover, None),
            ("ListToolsRequest", Method::ToolsList, Some(params_at(None, "").unwrap())),
            ("ListPromptsRequest", Method::PromptsList, None),
            ("ListResourcesRequest", Method::ResourcesList, None),
            ("ListResourceTemplatesRequest", Method::ResourceTemplatesList, None),
            ("CallToolRequest", Method::ToolsCall, Some(raw(&json!({ "name": "a", "_meta": { "x": 1 } })))),
            ("GetPromptRequest", Method::PromptsGet, Some(raw(&json!({ "name": "a" })))),
            ("ReadResourceRequest", Method::ResourcesRead, Some(raw(&json!({ "uri": "file:///a" })))),
            ("SubscriptionsListenRequest", Method::SubscriptionsListen, Some(raw(&listen))),
        ] {
            let stamped = sender().stamp(params.as_ref()).unwrap();
            schema.assert_valid(definition, &request(method, Some(stamped)));
        }
        let retry = Retry {
            responses: vec![("q".into(), raw(&json!({ "action": "decline" })))],
            state: Some(RawJson::string("s")),
        };
        let params = retry.stamp(Some(&raw(&json!({ "name": "a" })))).unwrap();
        schema.assert_valid(
            "CallToolRequest",
            &request(Method::ToolsCall, Some(sender().stamp(Some(&params)).unwrap())),
        );
    }
}

#[test]
fn results_are_valid_in_every_revision() {
    let info = raw(&Implementation::new("server", "1.0"));
    let page = Page {
        items: vec![raw(&Tool::new("a", raw(&json!({ "type": "object" }))))],
        next_cursor: Some("".into()),
    };
    let mut called = CallToolResult::new(vec![ContentBlock::text("hi")]);
    called.structured_content = Some(raw(&json!({})));
    called.is_error = Some(true);
    let caching = Caching { ttl: Duration::from_secs(60), scope: CacheScope::Public };
    for schema in schemas().unwrap_or_default() {
        let stateless = schema.version.era() == Era::Stateless;
        let finish = |result: RawJson, caching| match stateless {
            true => Envelope::complete(caching).stamp(&result, Some(&info)).unwrap(),
            false => result,
        };
        let listed = finish(page.encode(&Method::ToolsList).unwrap(), Some(caching));
        schema.assert_valid("ListToolsResult", &listed.to().unwrap());
        let called = finish(raw(&called), None);
        schema.assert_valid("CallToolResult", &called.to().unwrap());
        schema.assert_valid("EmptyResult", &finish(RawJson::empty_object(), None).to().unwrap());
        let response = Message::Response(Response { id: 1.into(), result: called });
        schema.assert_valid("JSONRPCMessage", &value(response));
        if stateless {
            let discovered = json!({ "supportedVersions": ProtocolVersion::ALL, "capabilities": server().clip(schema.version) });
            let discovered = finish(raw(&discovered), Some(Caching::default()));
            schema.assert_valid("DiscoverResult", &discovered.to().unwrap());
            let listened =
                meta::set(&finish(RawJson::empty_object(), None), meta::SUBSCRIPTION_ID, raw(&7)).unwrap();
            schema.assert_valid("SubscriptionsListenResult", &listened.to().unwrap());
            let question = |key: &str, method, params: Value| InputRequest {
                key: key.into(),
                method,
                params: Some(raw(&params)),
            };
            let asked = InputRequired {
                requests: vec![
                    question(
                        "a",
                        Method::ElicitationCreate,
                        json!({ "mode": "url", "message": "m", "url": "https://a.example/" }),
                    ),
                    question("b", Method::RootsList, json!({})),
                ],
                state: Some(RawJson::string("s")),
            };
            schema.assert_valid("InputRequiredResult", &asked.encode().to().unwrap());
        }
    }
}

#[test]
fn notifications_are_valid_in_every_revision() {
    let mut progress = progress::ProgressParams::new(RequestId::from("p"), 1u64);
    progress.total = Number::from_f64(2.5);
    for schema in schemas().unwrap_or_default() {
        for (definition, method, params) in [
            ("CancelledNotification", Method::Cancelled, raw(&cancel::CancelledParams::of(7.into()))),
            ("ProgressNotification", Method::Progress, raw(&progress)),
            (
                "LoggingMessageNotification",
                Method::LogMessage,
                raw(&LogMessageParams::new(LogLevel::Alert, RawJson::string("x"))),
            ),
        ] {
            let notification = Notification { method, params: Some(params) };
            schema.assert_valid(definition, &value(Message::Notification(notification)));
        }
    }
}

#[test]
fn errors_are_valid() {
    let failure = |error| value(Message::Failure(Failure { id: Some(1.into()), error }));
    for schema in schemas().unwrap_or_default() {
        let plain = failure(RpcError::new(ErrorCode::INTERNAL_ERROR, "no"));
        schema.assert_valid("JSONRPCMessage", &plain);
    }
    for schema in each(Era::Stateless) {
        let unsupported = RpcError::unsupported_version(&ProtocolVersion::ALL, "1999-01-01");
        schema.assert_valid("UnsupportedProtocolVersionError", &failure(unsupported));
        schema.assert_valid(
            "MissingRequiredClientCapabilityError",
            &failure(RpcError::missing_capability(&client())),
        );
        let mismatch = mcp_protocol::header::check_name(Some("a"), None);
        schema.assert_valid("HeaderMismatchError", &failure(mismatch.unwrap_err().to_error()));
        let anonymous =
            Message::Failure(Failure { id: None, error: RpcError::new(ErrorCode::PARSE_ERROR, "no") });
        schema.assert_valid("JSONRPCErrorResponse", &value(anonymous));
    }
}
