//! One operation of the HTTP API.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// An HTTP verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Makes something new.
    Post,
    /// Changes something.
    Put,
    /// Ends something.
    Delete,
}

/// A schema with all the schemas that it refers to.
#[derive(Clone)]
pub struct Schemas {
    /// Name of the type.
    pub name: String,
    /// What it looks like.
    pub schema: RefOr<Schema>,
    /// What it refers to, by name.
    pub refers_to: Vec<(String, RefOr<Schema>)>,
}

impl Schemas {
    /// The schemas of a type.
    pub fn of<T: ToSchema>() -> Self {
        let mut refers_to = Vec::new();
        T::schemas(&mut refers_to);
        Self { name: T::name().into_owned(), schema: <T as PartialSchema>::schema(), refers_to }
    }
}

/// What a successful answer (always 200) looks like.
#[derive(Clone)]
pub enum Answers {
    /// `{id, version}`, and the version as `ETag`: what a command answers.
    Committed,
    /// A view.
    View(Box<Schemas>),
}

/// A parameter of the query string.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub description: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is a whole number; otherwise it is a text.
    pub number: bool,
}

/// One operation: a verb on a path. What every operation can answer is not said here, but where the document is made:
/// 400, 413, 422, 429 and 503.
#[derive(Clone)]
pub struct Operation {
    /// The verb.
    pub verb: Verb,
    /// The path, as the template's route has it.
    pub path: &'static str,
    /// Its name in generated clients (the original API's, where it had one), for example `addItem`.
    pub id: &'static str,
    /// The context, as Swagger UI groups it.
    pub tag: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What the body has to look like, where there is one.
    pub body: Option<Box<Schemas>>,
    /// What it answers.
    pub answers: Answers,
    /// What the query string may say.
    pub query: Vec<Parameter>,
    /// Whether it changes nothing, whatever its verb: a question that is too large for a query string.
    pub asks: bool,
    /// Statuses of problem documents that it answers, beside those that every operation can.
    pub refuses: Vec<u16>,
}

impl Operation {
    fn new(
        verb: Verb,
        path: &'static str,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        let mut refuses = Vec::new();
        if path.contains('{') {
            refuses.push(404);
        }
        if verb != Verb::Get {
            // Others were faster, four times over; or a rule of the business.
            refuses.push(409);
        }
        if verb != Verb::Get && path.contains('{') {
            refuses.push(412);
        }
        Self {
            verb,
            path,
            id,
            tag,
            summary,
            body: None,
            answers: Answers::Committed,
            query: Vec::new(),
            asks: verb == Verb::Get,
            refuses,
        }
    }

    /// `GET path`. With an id in the path it answers 404 as well.
    pub fn get(path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Verb::Get, path, id, tag, summary)
    }

    /// `POST path`: a command. It answers 409 as well; with an id in the path 404 and 412 too.
    pub fn post(path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Verb::Post, path, id, tag, summary)
    }

    /// `POST path`: a question with a body. It changes nothing.
    pub fn ask(path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let mut operation = Self::new(Verb::Post, path, id, tag, summary);
        operation.refuses.retain(|status| *status != 409 && *status != 412);
        Self { asks: true, ..operation }
    }

    /// `PUT path`: a command; see [`Operation::post`].
    pub fn put(path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Verb::Put, path, id, tag, summary)
    }

    /// `DELETE path`: a command; see [`Operation::post`].
    pub fn delete(path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new(Verb::Delete, path, id, tag, summary)
    }

    /// It takes a body of this type.
    #[must_use]
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Box::new(Schemas::of::<T>()));
        self
    }

    /// It answers a view of this type. Without this, it answers as commands do.
    #[must_use]
    pub fn shows<T: ToSchema>(mut self) -> Self {
        self.answers = Answers::View(Box::new(Schemas::of::<T>()));
        self
    }

    /// It answers pages: takes `limit` and `cursor`.
    #[must_use]
    pub fn pages(mut self) -> Self {
        self.query.push(Parameter {
            name: "limit",
            description: "Entries on a page: 1 to 100, 20 when nothing is said.",
            required: false,
            number: true,
        });
        self.query.push(Parameter {
            name: "cursor",
            description: "The `next` of the page before.",
            required: false,
            number: false,
        });
        self
    }

    /// It shows the past as well: takes `at`.
    #[must_use]
    pub fn past(self) -> Self {
        self.query(
            "at",
            "As it was then: after the event of this version, or at this time (RFC 3339). 404 when it did not exist.",
            false,
        )
    }

    /// It takes a text in the query string.
    #[must_use]
    pub fn query(mut self, name: &'static str, description: &'static str, required: bool) -> Self {
        self.query.push(Parameter { name, description, required, number: false });
        self
    }

    /// It takes a whole number in the query string.
    #[must_use]
    pub fn number(mut self, name: &'static str, description: &'static str) -> Self {
        self.query.push(Parameter { name, description, required: false, number: true });
        self
    }

    /// It can answer a problem with this status as well.
    #[must_use]
    pub fn refuses(mut self, status: u16) -> Self {
        self.refuses.push(status);
        self
    }

    /// Whether it changes something.
    pub fn is_command(&self) -> bool {
        !self.asks
    }

    /// Whether its answer says which version it is about, as `ETag`: not those that are made of a view.
    pub fn sends_version(&self) -> bool {
        let lists = self.query.iter().any(|parameter| parameter.name == "cursor");
        matches!(self.answers, Answers::Committed) || (self.path.contains('{') && !lists)
    }
}
