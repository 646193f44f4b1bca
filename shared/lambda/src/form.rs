//! Reading a request's fields: every one that is wrong is reported, not just the first.

use std::{borrow::Cow, cell::RefCell};

use kernel::{Id, Money, Timestamp};
use serde_json::{Map, Value};

use crate::{Detail, Fault};

/// The fields of a JSON object, and what is wrong with them.
pub struct Form<'a> {
    fields: Option<&'a Map<String, Value>>,
    prefix: Cow<'static, str>,
    wrong: RefCell<Vec<Detail>>,
}

impl<'a> Form<'a> {
    /// The fields of `body`. Unknown fields are ignored, as the original API does.
    pub fn of(body: &'a Value) -> Self {
        Self { fields: body.as_object(), prefix: "".into(), wrong: RefCell::default() }
    }

    /// Records that a field is wrong.
    pub fn reject(&self, field: &str, code: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.wrong.borrow_mut().push(Detail {
            field: format!("{}{field}", self.prefix),
            code: code.into(),
            message: message.into(),
        });
    }

    fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields?.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is there, and not null: for fields that may be left out.
    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// Whether the field is there, and neither null nor an empty text: for filters, which some clients send empty.
    pub fn is_set(&self, field: &str) -> bool {
        self.get(field).is_some_and(|value| value.as_str().is_none_or(|text| !text.trim().is_empty()))
    }

    /// A UUID. `blank` is the code when it is missing or empty.
    pub fn id<K>(&self, field: &str, blank: &'static str) -> Option<Id<K>> {
        let text = self.text(field, blank)?;
        match text.parse() {
            Ok(id) => Some(id),
            Err(_) => {
                self.reject(field, "ID_IS_MALFORMED", format!("{field} must be a UUID"));
                None
            }
        }
    }

    /// A text that is not blank. `blank` is the code when it is.
    pub fn text(&self, field: &str, blank: &'static str) -> Option<&'a str> {
        match self.get(field) {
            None => {}
            Some(Value::String(text)) if text.trim().is_empty() => {}
            Some(Value::String(text)) if text.chars().count() > MAX_TEXT => {
                self.reject(
                    field,
                    "TEXT_IS_TOO_LONG",
                    format!("{field} may have at most {MAX_TEXT} characters"),
                );
                return None;
            }
            Some(Value::String(text)) => return Some(text),
            Some(_) => {
                self.reject(field, "NOT_A_TEXT", format!("{field} must be a string"));
                return None;
            }
        }
        self.reject(field, blank, format!("{field} cannot be blank"));
        None
    }

    /// A text that may be blank or missing; missing is empty, as in the original API, whose clients
    /// leave empty texts out.
    pub fn text_or_empty(&self, field: &str) -> Option<&'a str> {
        self.text_or(field, "")
    }

    /// A text, or `usual` when it is blank or missing.
    pub fn text_or(&self, field: &str, usual: &'a str) -> Option<&'a str> {
        if self.get(field).is_none_or(|value| value.as_str().is_some_and(|text| text.trim().is_empty())) {
            return Some(usual);
        }
        self.text(field, "NOT_A_TEXT")
    }

    /// A whole number. Rules about its range belong to the aggregate.
    pub fn integer(&self, field: &str) -> Option<i64> {
        match self.get(field).map(Value::as_i64) {
            Some(Some(number)) => Some(number),
            Some(None) => {
                self.reject(field, "NOT_A_WHOLE_NUMBER", format!("{field} must be a whole number"));
                None
            }
            None => {
                self.reject(field, "MISSING", format!("{field} is missing"));
                None
            }
        }
    }

    /// An amount with at most two decimal places.
    pub fn money(&self, field: &str) -> Option<Money> {
        let Some(value) = self.get(field) else {
            self.reject(field, "MISSING", format!("{field} is missing"));
            return None;
        };
        match kernel::money::decimal::deserialize(value) {
            Ok(money) => Some(money),
            Err(error) => {
                self.reject(field, "AMOUNT_IS_INVALID", error.to_string());
                None
            }
        }
    }

    /// A list of UUIDs; empty when it is missing.
    pub fn ids<K>(&self, field: &str) -> Option<Vec<Id<K>>> {
        let items = match self.get(field) {
            None => return Some(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.reject(field, "NOT_A_LIST", format!("{field} must be a list of UUIDs"));
                return None;
            }
        };
        let read_one = |(index, item): (usize, &Value)| {
            let id = item.as_str().and_then(|text| text.parse().ok());
            if id.is_none() {
                self.reject(&format!("{field}[{index}]"), "ID_IS_MALFORMED", "must be a UUID");
            }
            id
        };
        let read: Vec<Option<Id<K>>> = items.iter().enumerate().map(read_one).collect();
        read.into_iter().collect()
    }

    /// A time, as RFC 3339 writes it.
    pub fn time(&self, field: &str) -> Option<Timestamp> {
        match self.get(field).and_then(Value::as_str).map(str::parse) {
            Some(Ok(time)) => Some(time),
            Some(Err(_)) | None => {
                let message = format!("{field} must be a time, for example 2026-11-20T12:00:00Z");
                self.reject(field, "TIME_IS_MALFORMED", message);
                None
            }
        }
    }

    /// An object inside this one; what is wrong in it is reported as `outer.inner`.
    pub fn nested<T>(&self, field: &str, read: impl FnOnce(&Form<'a>) -> Option<T>) -> Option<T> {
        let Some(fields) = self.get(field).and_then(Value::as_object) else {
            self.reject(field, "MISSING", format!("{field} must be an object"));
            return None;
        };
        self.inner(fields, format!("{}{field}.", self.prefix), read)
    }

    /// A list of objects.
    pub fn list<T>(&self, field: &str, mut read: impl FnMut(&Form<'a>) -> Option<T>) -> Option<Vec<T>> {
        let items = match self.get(field) {
            None => return Some(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.reject(field, "NOT_A_LIST", format!("{field} must be a list"));
                return None;
            }
        };
        let read_one = |(index, item): (usize, &'a Value)| {
            let prefix = format!("{}{field}[{index}].", self.prefix);
            match item.as_object() {
                Some(fields) => self.inner(fields, prefix, &mut read),
                None => {
                    self.reject(&format!("{field}[{index}]"), "NOT_AN_OBJECT", "must be an object");
                    None
                }
            }
        };
        // All of them are read before any is missed, so that all faults are found.
        let read: Vec<Option<T>> = items.iter().enumerate().map(read_one).collect();
        read.into_iter().collect()
    }

    fn inner<T>(
        &self,
        fields: &'a Map<String, Value>,
        prefix: String,
        read: impl FnOnce(&Form<'a>) -> Option<T>,
    ) -> Option<T> {
        let form = Form { fields: Some(fields), prefix: prefix.into(), wrong: RefCell::default() };
        let value = read(&form);
        self.wrong.borrow_mut().extend(form.wrong.into_inner());
        value
    }

    /// The fault that names every wrong field.
    pub fn fault(self) -> Fault {
        let details = self.wrong.into_inner();
        let (code, message) = match &details[..] {
            [] => ("VALIDATION_FAILED".into(), "the request body must be a JSON object".to_owned()),
            [one] => (one.code.clone(), one.message.clone()),
            many => ("VALIDATION_FAILED".into(), format!("{} fields are wrong, see details", many.len())),
        };
        Fault { details, ..Fault::invalid(code, message) }
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.wrong.borrow().is_empty()
    }
}

/// Longest text field. Names and reasons are shorter; commits have to stay small.
const MAX_TEXT: usize = 500;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_wrong_field_is_named_not_just_the_first() {
        let body = json!({ "customerId": " ", "amount": 1.999, "items": [{ "quantity": "x" }, 7] });
        let form = Form::of(&body);
        assert!(form.id::<()>("customerId", "CUSTOMER_ID_CANNOT_BE_BLANK").is_none());
        assert!(form.money("amount").is_none());
        assert!(form.list("items", |item| item.integer("quantity")).is_none());
        let fault = form.fault();
        let fields: Vec<_> = fault.details.iter().map(|d| (d.field.as_str(), d.code.as_ref())).collect();
        assert_eq!(
            fields,
            [
                ("customerId", "CUSTOMER_ID_CANNOT_BE_BLANK"),
                ("amount", "AMOUNT_IS_INVALID"),
                ("items[0].quantity", "NOT_A_WHOLE_NUMBER"),
                ("items[1]", "NOT_AN_OBJECT"),
            ]
        );
        assert_eq!((fault.status, fault.code.as_ref()), (400, "VALIDATION_FAILED"));
    }

    #[test]
    fn a_text_that_may_be_empty_still_has_to_be_a_text_of_bounded_length() {
        let body = json!({ "sku": "A-1", "blank": "  ", "null": null, "number": 7, "long": "x".repeat(501) });
        let form = Form::of(&body);
        for (field, text) in [("sku", "A-1"), ("blank", ""), ("null", ""), ("missing", "")] {
            assert_eq!(form.text_or_empty(field), Some(text), "{field}");
        }
        assert!(form.is_clean());
        assert_eq!((form.text_or_empty("number"), form.text_or_empty("long")), (None, None));
        let codes: Vec<_> = form.fault().details.into_iter().map(|d| d.code).collect();
        assert_eq!(codes, ["NOT_A_TEXT", "TEXT_IS_TOO_LONG"]);
    }

    #[test]
    fn a_field_that_may_be_left_out_may_be_null() {
        let body = json!({ "price": 0, "null": null, "blank": " " });
        let form = Form::of(&body);
        assert_eq!(["price", "null", "missing"].map(|field| form.has(field)), [true, false, false]);
        assert_eq!(
            ["price", "null", "missing", "blank"].map(|field| form.is_set(field)),
            [true, false, false, false]
        );
        assert!(form.is_clean());
    }

    #[test]
    fn lists_of_ids_and_times_are_read_whole_or_every_wrong_one_is_named() {
        let id = "0198c0de-0000-7000-8000-000000000001";
        let body = json!({ "ids": [id], "bad": [id, "x", 7], "text": id, "at": "2026-11-20T12:00:00+01:00", "when": "noon" });
        let form = Form::of(&body);
        assert_eq!(form.ids::<()>("ids").map(|ids| ids.len()), Some(1));
        assert_eq!(form.ids::<()>("missing"), Some(vec![]));
        assert_eq!(form.time("at").map(|at| at.to_string()).as_deref(), Some("2026-11-20T11:00:00Z"));
        assert!(form.is_clean());
        assert_eq!((form.ids::<()>("bad"), form.ids::<()>("text")), (None, None));
        assert_eq!((form.time("when"), form.time("missing")), (None, None));
        let fields: Vec<_> = form.fault().details.into_iter().map(|detail| detail.field).collect();
        assert_eq!(fields, ["bad[1]", "bad[2]", "text", "when", "missing"]);
    }

    #[test]
    fn a_body_that_is_no_object_is_reported_by_its_missing_fields() {
        let body = json!([1, 2]);
        let form = Form::of(&body);
        assert!(form.integer("quantity").is_none());
        assert_eq!(form.fault().code, "MISSING");
    }
}
