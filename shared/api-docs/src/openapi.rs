//! The OpenAPI document.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::{
        Components, Content, Header, HttpMethod, Info, License, OpenApi, OpenApiBuilder, Paths, Ref, RefOr,
        Required, Response, ResponseBuilder, Schema, SchemaFormat, Server, Tag,
        path::{OperationBuilder, Parameter as PathParameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{ObjectBuilder, Type},
    },
};

use crate::{
    Answers, Operation, Parameter, Schemas, Verb,
    links::links_of,
    schema::{Named, component},
};

/// What is said at the beginning.
const ABOUT: &str = "Shoppers fill a basket from several stores, one order is placed, stock is kept, bots collect the \
    goods, and an invoice is paid.\n\nEvery answer that succeeds is a 200. Commands answer `{id, version}` and send the \
    version as `ETag` as well; send it back as `If-Match` to change only what you saw. A command with an \
    `Idempotency-Key` may be repeated: it takes effect once. Lists lag behind the commands by the time that events take \
    to travel; single entities do not. Everything else is a problem document (RFC 9457) with a stable `code`.";

/// What the gateway may say itself; it knows no problem documents.
const BY_THE_GATEWAY: &[u16] = &[413, 429, 503];
/// What it alone says.
const BY_THE_GATEWAY_ALONE: &[u16] = &[429];

/// Longest idempotency key, as the edge has it.
const MAX_KEY: usize = 200;

/// What a command answers.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is only described")]
struct Committed {
    /// What was made or changed.
    #[schema(value_type = String, format = "uuid")]
    id: String,
    /// Its version from now on. 0: there was nothing to change, and it has no history yet.
    #[schema(value_type = u64, minimum = 0)]
    version: u64,
}

/// Everything that is not success (RFC 9457), with `code`, `message` and `details` beside the standard's fields.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is only described")]
struct Problem {
    /// A name for this kind of problem: `urn:mallard:problem:<code>`.
    r#type: String,
    /// What the status means.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong and what to do, for people.
    detail: String,
    /// The path that was asked for.
    instance: String,
    /// What is wrong, for programs; it stays the same across releases.
    #[schema(pattern = "^[A-Z][A-Z0-9_]*$")]
    code: String,
    /// The same as `detail`, as the original API has it.
    message: String,
    /// The fields that are wrong.
    details: Vec<ProblemDetail>,
}

/// One field that is wrong.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is only described")]
struct ProblemDetail {
    /// Name of the field, for example `items[0].quantity`.
    field: String,
    /// What is wrong with it, for programs.
    code: String,
    /// What is wrong with it, for people.
    message: String,
}

/// How the gateway itself says no.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is only described")]
struct GatewayMessage {
    /// What is wrong.
    message: String,
}

/// What every operation can answer beside success: what is asked may be wrong, too large or too often, and we may be
/// out of order. Keys that were used before come with commands only.
fn statuses(operation: &Operation) -> Vec<u16> {
    let mut statuses = vec![400, 413, 429, 503];
    if operation.is_command() {
        statuses.push(422);
    }
    statuses.extend(&operation.refuses);
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// When an operation answers so.
pub(crate) fn meaning(status: u16) -> &'static str {
    match status {
        400 => {
            "The request cannot be meant as it stands, or a rule of the business says no; `details` names the fields."
        }
        401 => "The customer may not do this.",
        404 => "There is no such thing.",
        409 => {
            "Not in the state that it is in; or others were faster, several times over (`CONTENDED`: try again)."
        }
        412 => "It is not at the version that `If-Match` names: read it again.",
        413 => "The request, or what it would store, is too large.",
        422 => "The Idempotency-Key was used before with another payload: take a fresh key.",
        429 => "Too many requests: come back later.",
        503 => {
            "We cannot answer right now, or do not know whether it took effect: repeat it with the same Idempotency-Key."
        }
        _ => panic!("what does {status} mean? Say it here"),
    }
}

impl Operation {
    /// The statuses that it can answer beside 200, in order.
    pub fn refusals(&self) -> Vec<u16> {
        statuses(self)
    }

    /// Whether it is about one entity that is there already.
    fn has_id(&self) -> bool {
        self.path.contains("{id}")
    }
}

/// The document. Panics when two operations share an id, or two types a name: it is made by a test.
pub fn openapi(operations: &[Operation]) -> OpenApi {
    let mut schemas = Named::default();
    schemas.take(&Schemas::of::<Problem>());
    schemas.take(&Schemas::of::<GatewayMessage>());
    schemas.take(&Schemas::of::<Committed>());
    let mut paths = Paths::new();
    let mut ids = BTreeMap::new();
    for operation in operations {
        let route = format!("{} {}", operation.verb.name(), operation.path);
        if let Some(other) = ids.insert(operation.id, route.clone()) {
            panic!("both {other} and {route} are called {}", operation.id);
        }
        if let Some(body) = &operation.body {
            schemas.take(body);
        }
        if let Answers::View(view) = &operation.answers {
            schemas.take(view);
        }
        paths.add_path_operation(
            operation.path,
            vec![operation.verb.method()],
            described(operation, operations),
        );
    }
    let mut tags: Vec<&str> = operations.iter().map(|operation| operation.tag).collect();
    tags.sort_unstable();
    tags.dedup();

    let mut components = Components::new();
    let as_schema = |(name, schema): (String, Value)| {
        let schema = serde_json::from_value::<RefOr<Schema>>(schema);
        let schema = schema.unwrap_or_else(|error| panic!("the schema {name} is not understood: {error}"));
        (name, schema)
    };
    components.schemas = schemas.into_object().into_iter().map(as_schema).collect();
    for status in operations.iter().flat_map(statuses) {
        components.responses.insert(format!("Problem{status}"), problem(status).into());
    }
    for (name, header) in [
        (
            "CorrelationId",
            header("The same as in the request, or a fresh one: names all that follows from it.", None),
        ),
        ("ETag", header("The version, for `If-Match`.", Some("^\"[0-9]+\"$"))),
    ] {
        components.headers.insert(name.to_owned(), header.into());
    }

    let mut info = Info::new("Mallard", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    info.license = Some(license);
    OpenApiBuilder::new()
        .info(info)
        // Where the document itself comes from, whichever stage that is.
        .servers(Some([Server::new(".")]))
        .tags(Some(tags.into_iter().map(Tag::new)))
        .paths(paths)
        .components(Some(components))
        .build()
}

impl Verb {
    /// As HTTP writes it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Delete => "DELETE",
        }
    }

    fn method(self) -> HttpMethod {
        match self {
            Verb::Get => HttpMethod::Get,
            Verb::Post => HttpMethod::Post,
            Verb::Put => HttpMethod::Put,
            Verb::Delete => HttpMethod::Delete,
        }
    }
}

fn described(operation: &Operation, operations: &[Operation]) -> utoipa::openapi::path::Operation {
    let mut described = OperationBuilder::new()
        .operation_id(Some(operation.id))
        .tag(operation.tag)
        .summary(Some(operation.summary.trim_end_matches('.')))
        .description(Some(operation.summary));
    for parameter in parameters(operation) {
        described = described.parameter(parameter);
    }
    if let Some(body) = &operation.body {
        let content = Content::new(Some(component(&body.name)));
        let body =
            RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
        described = described.request_body(Some(body.build()));
    }
    described = described.response("200", success(operation, operations));
    for status in statuses(operation) {
        described =
            described.response(status.to_string(), Ref::from_response_name(format!("Problem{status}")));
    }
    described.build()
}

fn parameters(operation: &Operation) -> Vec<PathParameter> {
    let mut parameters: Vec<PathParameter> = names_in(operation.path)
        .map(|name| {
            let id = text().format(Some(SchemaFormat::Custom("uuid".into())));
            parameter(name, ParameterIn::Path, "Its id. One that is no UUID names nothing: 404.", true, id)
        })
        .collect();
    for Parameter { name, description, required, number } in &operation.query {
        let schema = match (number, *name) {
            (true, "limit") => whole().minimum(Some(1)).maximum(Some(100)),
            (true, _) => whole().minimum(Some(0)),
            (false, _) => text(),
        };
        parameters.push(parameter(name, ParameterIn::Query, description, *required, schema));
    }
    let uuid = text().format(Some(SchemaFormat::Custom("uuid".into())));
    let mut header = |name, description, schema| {
        parameters.push(parameter(name, ParameterIn::Header, description, false, schema))
    };
    if operation.is_command() {
        let key = text().min_length(Some(1)).max_length(Some(MAX_KEY));
        let key = key.pattern(Some("^[!-~]+$"));
        header(
            "Idempotency-Key",
            "Names this command: repeated with the same key, it takes effect once.",
            key,
        );
        if operation.has_id() {
            let etag = text().pattern(Some("^(\\*|\"(0|[1-9][0-9]{0,17})\")$"));
            header("If-Match", "The `ETag` that you saw: nothing happens if it has changed since.", etag);
        }
    }
    header("X-Correlation-Id", "Names all that follows from this request, in events and logs.", uuid);
    parameters
}

fn parameter(
    name: &str,
    place: ParameterIn,
    description: &str,
    required: bool,
    schema: ObjectBuilder,
) -> PathParameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .description(Some(description))
        .required(if required { Required::True } else { Required::False })
        .schema(Some(Schema::Object(schema.build())))
        .build()
}

/// The names in braces.
fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn whole() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

fn header(description: &str, pattern: Option<&str>) -> Header {
    let mut header = Header::new(Schema::Object(text().pattern(pattern).build()));
    header.description = Some(description.to_owned());
    header
}

fn success(operation: &Operation, operations: &[Operation]) -> Response {
    let (description, schema) = match &operation.answers {
        Answers::Committed => ("It is done.", component("Committed")),
        Answers::View(view) => ("As asked for.", component(&view.name)),
    };
    let mut response = ResponseBuilder::new()
        .description(description)
        .content("application/json", Content::new(Some(schema)))
        .header_ref("X-Correlation-Id", header_named("CorrelationId"));
    if operation.sends_version() {
        response = response.header_ref("ETag", header_named("ETag"));
    }
    for (name, link) in links_of(operation, operations) {
        response = response.link(name, link);
    }
    response.build()
}

fn problem(status: u16) -> Response {
    let mut response = ResponseBuilder::new().description(meaning(status));
    if !BY_THE_GATEWAY_ALONE.contains(&status) {
        response = response.content("application/problem+json", Content::new(Some(component("Problem"))));
    }
    if BY_THE_GATEWAY.contains(&status) {
        response = response.content("application/json", Content::new(Some(component("GatewayMessage"))));
    }
    response.build()
}

fn header_named(name: &str) -> Ref {
    Ref::new(format!("#/components/headers/{name}"))
}
