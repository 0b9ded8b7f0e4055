//! Owns the way to images: Docker's interface, which podman serves beside its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::Result;
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::Dialect;
use super::client::{Call, Client};
use super::read::InspectedImage;
use crate::images::Upload;
use crate::observed::ImageDefaults;

/// The way to one engine.
pub(super) struct Transport<D> {
    client: Arc<Client>,
    dialect: std::marker::PhantomData<fn() -> D>,
}

impl<D> Transport<D> {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, dialect: std::marker::PhantomData }
    }
}

#[async_trait]
impl<D: Dialect> crate::images::Transport for Transport<D> {
    fn driver(&self) -> &'static str {
        D::INTERFACE.name
    }

    fn trust_folder(&self, registry: &str) -> PathBuf {
        D::trusted_authorities().join(registry)
    }

    async fn send(&self, request: Request<Upload>, within: Duration) -> Result<Response<Incoming>> {
        self.client.send(request, within).await
    }

    async fn defaults(&self, image: &str) -> Result<Option<ImageDefaults>> {
        let call = Call::get(format!("/images/{}/json", super::encode(image)));
        let answer = self.client.call(&call).await?.accept(&format!("show the image `{image}`"), &[404])?;
        if answer.status.as_u16() == 404 {
            Ok(None)
        } else {
            Ok(Some(answer.parse::<InspectedImage>()?.defaults()))
        }
    }
}
