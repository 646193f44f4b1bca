//! How the kernel's types look in JSON, for the documents that are made of them (JSON Schema, OpenAPI).

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema, SchemaFormat,
        schema::{ObjectBuilder, Type},
    },
};

use crate::{Id, Money, StreamId, Version};

impl<K> PartialSchema for Id<K> {
    fn schema() -> RefOr<Schema> {
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("uuid".into())))
            .description(Some("A UUID. The server makes it."));
        RefOr::T(Schema::Object(id.build()))
    }
}

impl<K> ToSchema for Id<K> {
    fn name() -> Cow<'static, str> {
        "Id".into()
    }
}

impl PartialSchema for Version {
    fn schema() -> RefOr<Schema> {
        let version = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .description(Some("How many events there are in the stream."));
        RefOr::T(Schema::Object(version.build()))
    }
}

impl ToSchema for Version {
    fn name() -> Cow<'static, str> {
        "Version".into()
    }
}

impl PartialSchema for StreamId {
    fn schema() -> RefOr<Schema> {
        let stream = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("`<context>.<Aggregate>/<id>`, for example `ordering.Order/0198…`."));
        RefOr::T(Schema::Object(stream.build()))
    }
}

impl ToSchema for StreamId {
    fn name() -> Cow<'static, str> {
        "StreamId".into()
    }
}

/// An amount as the HTTP API writes it (see [`crate::money::decimal`]): stands in for [`Money`] in documents, with
/// `#[schema(value_type = kernel::schema::Amount)]`.
pub enum Amount {}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        let most = Money::MAX_MINOR as f64 / 100.0;
        let amount = ObjectBuilder::new()
            .schema_type(Type::Number)
            .minimum(Some(-most))
            .maximum(Some(most))
            .description(Some("An exact amount in US dollars with at most two decimal places."));
        RefOr::T(Schema::Object(amount.build()))
    }
}

impl ToSchema for Amount {
    fn name() -> Cow<'static, str> {
        "Amount".into()
    }
}
