//! The deployed mall's API, as commands of `mall` ask it.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;

use crate::{
    cloud,
    demo::said,
    errors::{Error, Result},
};

/// A request.
const LIMIT: Duration = Duration::from_secs(30);

/// The API.
pub struct Api {
    address: String,
    http: reqwest::Client,
}

impl Api {
    /// The API at this address.
    pub fn at(address: &str) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(LIMIT).no_proxy().build();
        let http = client.map_err(|e| Error::Http { request: address.to_owned(), why: cloud::plain(&e) })?;
        Ok(Self { address: address.to_owned(), http })
    }

    /// Asks `GET path`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the status for everything but 200.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(format!("GET {path}"), self.http.get(format!("{}{path}", self.address))).await
    }

    /// Sends the command `POST path`.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the code of the problem for 409, [`Error::Refused`] for all else but 200.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let call = self.http.post(format!("{}{path}", self.address)).json(body);
        self.send(format!("POST {path}"), call).await
    }

    async fn send(&self, request: String, call: RequestBuilder) -> Result<Value> {
        let failed = |e: reqwest::Error| Error::Http { request: request.clone(), why: cloud::plain(&e) };
        let answer = call.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(failed)?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        match (status, body["code"].as_str()) {
            (200, _) => Ok(body),
            (409, Some(code)) => Err(Error::Conflict { request, code: code.to_owned(), said: said(&body) }),
            (_, _) => Err(Error::Refused { request, status, said: said(&body) }),
        }
    }

    /// Asks `GET path`; `None` for 404.
    pub async fn find(&self, path: &str) -> Result<Option<Value>> {
        match self.get(path).await {
            Ok(body) => Ok(Some(body)),
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
