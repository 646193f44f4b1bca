//! HTTP requests and direct invocations become a [`Call`]; answers and faults become what the caller
//! understands.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use kernel::{Actor, CommandId, TraceParent, Uuid, Version, ports::Ports};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::{
    Answer, Call, Fault,
    call::{ANONYMOUS, USER},
};

/// Largest request body. Commands are small; a commit may have 400 KB at most.
const MAX_BODY: usize = 256 * 1024;
/// Longest idempotency key. A UUID has 36 characters.
const MAX_KEY: usize = 200;

/// Who is to get the answer, and how.
pub(crate) enum Caller {
    Http { path: String, correlation: Uuid },
    Direct,
}

/// What every call of one function has in common.
pub(crate) struct Door<'a> {
    pub handler: &'a str,
    pub ports: &'a Ports,
    pub xray: Option<&'a str>,
}

/// Reads an invocation's payload.
pub(crate) fn read(payload: Value, door: &Door<'_>) -> (Caller, Result<Call, Fault>) {
    if payload.get("requestContext").is_some_and(|c| c.get("http").is_some()) {
        let correlation = payload
            .pointer("/headers/x-correlation-id")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| door.ports.ids.fresh());
        let path = payload.get("rawPath").and_then(Value::as_str).unwrap_or_default().to_owned();
        let call = serde_json::from_value(payload)
            .map_err(|e| Fault::invalid("REQUEST_IS_MALFORMED", e.to_string()))
            .and_then(|request| from_http(request, correlation, door));
        (Caller::Http { path, correlation }, call)
    } else {
        (Caller::Direct, from_direct(payload, door))
    }
}

/// What is read of an HTTP API request (payload format 2.0; API Gateway writes header names in lower case). The full
/// type of `aws_lambda_events` asks for fields that not every sender has, and costs 80 KB of binary.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpRequest {
    #[serde(default, deserialize_with = "nullable")]
    raw_path: String,
    #[serde(default, deserialize_with = "nullable")]
    headers: HashMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    path_parameters: HashMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    query_string_parameters: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    is_base64_encoded: bool,
    request_context: RequestContext,
}

/// Where there is nothing, some senders leave the field out and some say `null`.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct RequestContext {
    http: HttpContext,
    authorizer: Option<Authorizer>,
}

#[derive(Deserialize)]
struct HttpContext {
    method: String,
}

#[derive(Deserialize)]
struct Authorizer {
    jwt: Option<Jwt>,
}

#[derive(Deserialize)]
struct Jwt {
    claims: HashMap<String, Value>,
}

impl HttpRequest {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The subject of the token that the API's authorizer has checked, where there is one.
    fn actor(&self) -> Actor {
        let authorizer = self.request_context.authorizer.as_ref();
        let subject = authorizer.and_then(|a| a.jwt.as_ref()).and_then(|jwt| jwt.claims.get("sub"));
        match subject.and_then(Value::as_str) {
            Some(subject) => Actor::new(format!("{USER}{subject}")),
            None => Actor::new(ANONYMOUS),
        }
    }
}

fn from_http(request: HttpRequest, correlation: Uuid, door: &Door<'_>) -> Result<Call, Fault> {
    let actor = request.actor();
    let key = request.header("idempotency-key").map(checked_key).transpose()?;
    let command = match key {
        Some(key) => {
            let method = request.request_context.http.method.as_str();
            CommandId::derived(&["http", actor.as_str(), method, &request.raw_path, key])
        }
        None => CommandId::new(door.ports.ids.fresh()),
    };
    Ok(Call {
        target: request.path_parameters.get("id").cloned(),
        body: body(request.body.as_deref(), request.is_base64_encoded)?,
        command,
        repeatable: key.is_some(),
        if_match: request.header("if-match").map(etag).transpose()?.flatten(),
        actor,
        correlation,
        causation: None,
        // A client's own traceparent is not trusted: anybody could write into anybody's traces.
        trace: Some(door.xray.and_then(from_xray).unwrap_or_else(|| fresh_trace(door.ports))),
        attempt: 0,
        at: door.ports.clock.now(),
        query: request.query_string_parameters,
    })
}

fn checked_key(key: &str) -> Result<&str, Fault> {
    if key.trim().is_empty() || key.len() > MAX_KEY {
        let message = format!("Idempotency-Key must have 1 to {MAX_KEY} characters; a UUID is a good choice");
        return Err(Fault::invalid("IDEMPOTENCY_KEY_IS_INVALID", message));
    }
    Ok(key)
}

fn body(text: Option<&str>, base64: bool) -> Result<Value, Fault> {
    let Some(text) = text.filter(|t| !t.trim().is_empty()) else { return Ok(Value::Null) };
    let malformed = |why: String| Fault::invalid("BODY_IS_MALFORMED", format!("the body is not JSON: {why}"));
    let bytes: Cow<'_, [u8]> = if base64 {
        STANDARD.decode(text).map_err(|e| malformed(e.to_string()))?.into()
    } else {
        text.as_bytes().into()
    };
    if bytes.len() > MAX_BODY {
        let message = format!("the request body has {} bytes, at most {MAX_BODY} are taken", bytes.len());
        return Err(Fault::new(413, "BODY_TOO_LARGE", message));
    }
    match serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))? {
        body @ (Value::Object(_) | Value::Null) => Ok(body),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Fault::invalid("BODY_IS_MALFORMED", "the body must be a JSON object"))
        }
    }
}

/// `"7"`, `W/"7"` or `7`; `*` means any version.
fn etag(text: &str) -> Result<Option<Version>, Fault> {
    let bare = text.trim();
    if bare == "*" {
        return Ok(None);
    }
    let bare = bare.strip_prefix("W/").unwrap_or(bare).trim_matches('"');
    let wrong =
        |_| Fault::invalid("IF_MATCH_IS_INVALID", "If-Match must be an ETag that we sent, such as \"7\"");
    bare.parse().map(|number| Some(Version::new(number))).map_err(wrong)
}

/// A direct invocation: from a saga, an operator, another function.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Direct {
    command: Option<String>,
    id: Option<String>,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    query: BTreeMap<String, String>,
    correlation: Option<Uuid>,
    causation: Option<Uuid>,
    actor: Option<String>,
    trace: Option<TraceParent>,
    /// A saga's `$$.State.RetryCount`.
    #[serde(default)]
    attempt: u32,
}

fn from_direct(payload: Value, door: &Door<'_>) -> Result<Call, Fault> {
    let direct: Direct = serde_json::from_value(payload).map_err(|e| {
        let message = format!("neither an HTTP request nor {{command, id, body, …}}: {e}");
        Fault::invalid("INVOCATION_IS_MALFORMED", message)
    })?;
    Ok(Call {
        target: direct.id,
        body: direct.body,
        query: direct.query,
        command: match &direct.command {
            Some(command) => CommandId::derived(&["direct", door.handler, command]),
            None => CommandId::new(door.ports.ids.fresh()),
        },
        repeatable: direct.command.is_some(),
        if_match: None,
        actor: Actor::new(direct.actor.as_deref().unwrap_or("direct")),
        correlation: direct.correlation.unwrap_or_else(|| door.ports.ids.fresh()),
        causation: direct.causation,
        trace: Some(
            direct.trace.or_else(|| door.xray.and_then(from_xray)).unwrap_or_else(|| fresh_trace(door.ports)),
        ),
        attempt: direct.attempt,
        at: door.ports.clock.now(),
    })
}

/// `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=1`, X-Ray's header, as W3C trace context.
fn from_xray(header: &str) -> Option<TraceParent> {
    let part = |name: &str| header.split(';').find_map(|p| p.trim().strip_prefix(name));
    let root = part("Root=1-")?.replace('-', "");
    let parent = part("Parent=").unwrap_or("0000000000000001");
    let flags = if part("Sampled=") == Some("1") { "01" } else { "00" };
    format!("00-{root}-{parent}-{flags}").parse().ok()
}

fn fresh_trace(ports: &Ports) -> TraceParent {
    let high = u128::from(ports.random.bits());
    TraceParent::new(high << 64 | u128::from(ports.random.bits()), ports.random.bits(), false)
}

/// Writes the answer.
pub(crate) fn write(caller: &Caller, result: Result<Answer, Fault>) -> Result<Value, Diagnostic> {
    match (caller, result) {
        (Caller::Direct, Ok(answer)) => Ok(answer.body),
        (Caller::Direct, Err(fault)) => Err(diagnostic(&fault)),
        (Caller::Http { correlation, .. }, Ok(answer)) => {
            let etag = answer.version.map(|version| format!("\"{version}\""));
            Ok(reply(200, "application/json", etag, correlation, &answer.body))
        }
        (Caller::Http { path, correlation }, Err(fault)) => {
            let problem = fault.problem(Some(path));
            Ok(reply(fault.status, "application/problem+json", None, correlation, &problem))
        }
    }
}

/// A typed error of the function: Step Functions retries or compensates by its name.
pub(crate) fn diagnostic(fault: &Fault) -> Diagnostic {
    Diagnostic { error_type: fault.error_type().to_owned(), error_message: fault.message.clone() }
}

fn reply(status: u16, content_type: &str, etag: Option<String>, correlation: &Uuid, body: &Value) -> Value {
    let mut headers = BTreeMap::from([
        ("content-type", content_type.to_owned()),
        ("x-correlation-id", correlation.to_string()),
        ("cache-control", "no-store".to_owned()),
    ]);
    headers.extend(etag.map(|etag| ("etag", etag)));
    if status == 503 || status == 409 {
        headers.insert("retry-after", "1".to_owned());
    }
    json!({ "statusCode": status, "headers": headers, "body": body.to_string(), "isBase64Encoded": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: Value, body: Value) -> Value {
        json!({
            "version": "2.0", "routeKey": "POST /api/baskets", "rawPath": "/api/baskets", "rawQueryString": "",
            "headers": headers, "isBase64Encoded": false, "body": body.to_string(),
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "p", "requestId": "r",
                "routeKey": "POST /api/baskets", "stage": "$default", "time": "", "timeEpoch": 0,
                "http": { "method": "POST", "path": "/api/baskets", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "t" }
            }
        })
    }

    fn call(payload: Value) -> Result<Call, Fault> {
        let ports = testing::ports::TestPorts::new(1).ports();
        read(payload, &Door { handler: "start-basket", ports: &ports, xray: None }).1
    }

    #[test]
    fn the_same_key_names_the_same_command_and_another_key_another() {
        let with = |key: &str| call(request(json!({ "idempotency-key": key }), json!({}))).unwrap();
        assert_eq!(with("k1").command, with("k1").command);
        assert_ne!(with("k1").command, with("k2").command);
        assert!(with("k1").repeatable);
        let without = call(request(json!({}), json!({}))).unwrap();
        assert!(!without.repeatable);
    }

    #[test]
    fn a_sender_that_says_null_where_there_is_nothing_is_understood() {
        let mut payload = request(json!({}), json!({}));
        for field in ["headers", "pathParameters", "queryStringParameters", "body", "isBase64Encoded"] {
            payload[field] = Value::Null;
        }
        payload["requestContext"]["authorizer"] = Value::Null;
        let call = call(payload).unwrap();
        assert!(call.query.is_empty() && call.target.is_none() && call.body.is_null());
    }

    #[test]
    fn an_oversized_or_blank_key_is_refused_with_what_to_do() {
        for key in ["", "  ", &"x".repeat(201)] {
            let fault = call(request(json!({ "idempotency-key": key }), json!({}))).unwrap_err();
            assert_eq!((fault.status, fault.code.as_ref()), (400, "IDEMPOTENCY_KEY_IS_INVALID"));
        }
    }

    #[test]
    fn if_match_understands_etags_and_refuses_noise() {
        for (text, version) in [("\"7\"", Some(7)), ("W/\"7\"", Some(7)), ("7", Some(7)), ("*", None)] {
            let call = call(request(json!({ "if-match": text }), json!({}))).unwrap();
            assert_eq!(call.if_match.map(Version::get), version, "{text}");
        }
        assert!(call(request(json!({ "if-match": "abc" }), json!({}))).is_err());
    }

    #[test]
    fn a_clients_trace_header_does_not_reach_our_traces() {
        let forged = "00-0000000000000000000000000000000f-000000000000000f-01";
        let call = call(request(json!({ "traceparent": forged }), json!({}))).unwrap();
        assert_ne!(call.trace.unwrap().as_str(), forged);
        let xray =
            from_xray("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1").unwrap();
        assert_eq!(xray.as_str(), "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
    }

    #[test]
    fn a_body_that_is_no_json_object_is_a_clear_400_also_where_no_field_is_needed() {
        for body in ["{oops", "[]", "7", "true", "\"PAYMENT_OVERDUE\""] {
            let mut payload = request(json!({}), json!({}));
            payload["body"] = json!(body);
            let fault = call(payload).unwrap_err();
            assert_eq!((fault.status, fault.code.as_ref()), (400, "BODY_IS_MALFORMED"), "{body}");
        }
    }

    #[test]
    fn a_body_is_measured_as_it_was_sent_not_as_the_gateway_wraps_it() {
        let sent = |base64: bool, length: usize| {
            let text = json!({ "x": "x".repeat(length - r#"{"x":""}"#.len()) }).to_string();
            let body = if base64 { STANDARD.encode(text) } else { text };
            super::body(Some(&body), base64).map(drop).map_err(|fault| (fault.status, fault.message))
        };
        for base64 in [false, true] {
            assert_eq!(sent(base64, MAX_BODY), Ok(()));
            let (status, message) = sent(base64, MAX_BODY + 1).unwrap_err();
            assert!(status == 413 && message.contains("262145"), "{message}");
        }
    }

    #[test]
    fn a_direct_call_with_a_misspelt_field_is_refused() {
        let fault = call(json!({ "comand": "x", "id": "1" })).unwrap_err();
        assert_eq!(fault.code, "INVOCATION_IS_MALFORMED");
        let same = || call(json!({ "command": "execution:Step", "id": "1" })).unwrap().command;
        assert_eq!(same(), same());
    }

    #[test]
    fn a_saga_says_how_often_it_tried_and_nobody_else_has_to() {
        let attempt = |payload| call(payload).unwrap().meta().attempt;
        assert_eq!(attempt(json!({ "command": "execution:Step", "attempt": 2 })), 2);
        assert_eq!(attempt(json!({ "command": "execution:Step" })), 0);
        assert_eq!(attempt(request(json!({}), json!({ "attempt": 2 }))), 0, "a client's own count is none");
        let fault = call(json!({ "command": "execution:Step", "attempt": -1 })).unwrap_err();
        assert_eq!(fault.code, "INVOCATION_IS_MALFORMED");
    }

    #[test]
    fn a_technical_fault_is_told_apart_from_a_refusal() {
        assert_eq!(diagnostic(&Fault::unavailable("x")).error_type, "Unavailable");
        assert_eq!(diagnostic(&Fault::new(409, "CONTENDED", "x")).error_type, "Conflict");
        assert_eq!(diagnostic(&Fault::new(409, "PAYMENT_IS_IN_USE", "x")).error_type, "PAYMENT_IS_IN_USE");
    }

    #[test]
    fn what_broke_inside_is_not_told_outside() {
        let caller = Caller::Http { path: "/x".into(), correlation: Uuid::nil() };
        let reply = write(&caller, Err(Fault::internal("secret table name"))).unwrap();
        assert_eq!(reply["statusCode"], 500);
        assert!(!reply.to_string().contains("secret"));
    }
}
