//! Objects in S3.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use kernel::Timestamp;

use crate::{
    index::IndexError,
    objects::{Condition, Got, Listed, Objects, Tag, Wrote},
};

/// Objects in a bucket.
///
/// Needs `s3:GetObject`, and where it writes `s3:PutObject`, `s3:DeleteObject` and `s3:ListBucket`; without the last, S3 says
/// "forbidden" of an object that is missing. Time-outs and the SDK's own retries are those of the client that is passed in: a
/// conditional write that is retried after a lost answer meets itself and is refused, which its caller takes for a conflict
/// and reads again.
pub struct S3Objects {
    client: Client,
    bucket: String,
}

impl S3Objects {
    /// The objects in `bucket`, reached as all services are. The bucket is named in the path where the endpoint is not
    /// AWS's own: `bucket.localhost` is a name that few machines know.
    pub fn of(config: &SdkConfig, bucket: impl Into<String>) -> Self {
        let own_endpoint = config.endpoint_url().is_some();
        let config = aws_sdk_s3::config::Builder::from(config).force_path_style(own_endpoint).build();
        Self::new(Client::from_conf(config), bucket)
    }

    /// The objects in `bucket`.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }
}

#[async_trait]
impl Objects for S3Objects {
    async fn get(&self, name: &str, known: Option<&Tag>) -> Result<Got, IndexError> {
        let get = self.client.get_object().bucket(&self.bucket).key(name);
        let got = get.set_if_none_match(known.map(|tag| tag.0.clone())).send().await;
        let object = match got {
            Ok(object) => object,
            Err(error) if status(&error) == Some(304) => return Ok(Got::Unchanged),
            Err(error) if status(&error) == Some(404) && error.code() != Some("NoSuchBucket") => {
                return Ok(Got::Missing);
            }
            Err(error) => return Err(failure("GetObject", error)),
        };
        let tag = Tag(object.e_tag.unwrap_or_default());
        let bytes = object.body.collect().await.map_err(|e| unavailable("GetObject", e))?;
        Ok(Got::Object { tag, bytes: bytes.to_vec() })
    }

    async fn put(&self, name: &str, bytes: Vec<u8>, condition: Condition<'_>) -> Result<Wrote, IndexError> {
        let put = self.client.put_object().bucket(&self.bucket).key(name).body(ByteStream::from(bytes));
        let put = match condition {
            Condition::Missing => put.if_none_match("*"),
            Condition::Still(tag) => put.if_match(&tag.0),
            Condition::Any => put,
        };
        match put.send().await {
            Ok(put) => Ok(Wrote::Written(Tag(put.e_tag.unwrap_or_default()))),
            // 412: it is another one; 409: somebody else writes it at this moment; 404: it was deleted meanwhile.
            Err(error)
                if matches!(status(&error), Some(404 | 409 | 412))
                    && error.code() != Some("NoSuchBucket") =>
            {
                Ok(Wrote::Refused)
            }
            Err(error) => Err(failure("PutObject", error)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, IndexError> {
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(|e| failure("ListObjectsV2", e))?.contents.unwrap_or_default() {
                let at = object.last_modified.and_then(|at| Timestamp::from_second(at.secs()).ok());
                found.extend(object.key.zip(at).map(|(name, at)| Listed { name, at }));
            }
        }
        Ok(found)
    }

    async fn delete(&self, name: &str) -> Result<(), IndexError> {
        let deleted = self.client.delete_object().bucket(&self.bucket).key(name).send().await;
        deleted.map(drop).map_err(|e| failure("DeleteObject", e))
    }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn unavailable(operation: &'static str, why: impl ToString) -> IndexError {
    IndexError::Unavailable { operation, why: why.to_string() }
}

fn failure<E>(operation: &'static str, error: SdkError<E>) -> IndexError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let event_store::Failure { passing, why } = error.into();
    if passing { unavailable(operation, why) } else { IndexError::Refused { operation, why } }
}
