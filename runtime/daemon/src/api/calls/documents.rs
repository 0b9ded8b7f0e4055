//! Owns the calls about documents.

use api::v1;
use api::v1::documents_server::Documents;
use async_trait::async_trait;
use effect::{Principal, Result};
use system::documents::{Document, Shelf};
use system::markdown;
use tonic::Request;

use super::{Answer, answer, granted};
use crate::api::Api;
use crate::api::fields::name;
use crate::api::gate::Granted;
use crate::api::page::{Question, fill, size};

/// A document without its text.
fn listed(document: &Document, is_read: bool) -> v1::Document {
    v1::Document {
        slug: document.slug.clone(),
        title: document.title.clone(),
        version: document.version,
        hash: document.hash.clone(),
        pushed_by: document.pushed_by.clone(),
        run: document.run.clone(),
        pushed: (document.at * 1000.0) as i64,
        is_read,
        body: String::new(),
        html: String::new(),
    }
}

impl Api {
    fn shelf(&self) -> Shelf {
        Shelf::new(self.rooms().journal.clone(), &self.rooms().node)
    }

    async fn documents(
        &self,
        request: &v1::ListDocumentsRequest,
        granted: &Granted,
    ) -> Result<v1::ListDocumentsResponse> {
        let question = Question { call: "ListDocuments", about: "" };
        let after = question.position(&request.page_token)?;
        let (most, shelf) = (size(request.page_size), self.shelf());
        let mut found = shelf.all().await?;
        found.retain(|document| {
            after.as_ref().is_none_or(|after| document.slug > *after)
                && granted.may("docs.read", &document.slug)
        });
        let is_last = found.len() <= most;
        let mut page = Vec::new();
        for document in found.iter().take(most) {
            page.push(listed(document, shelf.has_read(document, &granted.principal).await?));
        }
        let (documents, is_whole) = fill(page);
        let next_page_token = match documents.last() {
            Some(last) if !is_last || !is_whole => question.token(&last.slug),
            _ => String::new(),
        };
        Ok(v1::ListDocumentsResponse { documents, next_page_token })
    }

    async fn document(&self, slug: &str, principal: &Principal) -> Result<v1::Document> {
        let shelf = self.shelf();
        let document = shelf.get(name("slug", slug)?).await?;
        let is_read = shelf.has_read(&document, principal).await?;
        let html = markdown::html(&document.body);
        Ok(v1::Document { html, body: document.body.clone(), ..listed(&document, is_read) })
    }
}

#[async_trait]
impl Documents for Api {
    async fn list_documents(
        &self,
        request: Request<v1::ListDocumentsRequest>,
    ) -> Answer<v1::ListDocumentsResponse> {
        let listed = async { self.documents(request.get_ref(), granted(&request)?).await };
        answer(listed.await)
    }

    async fn get_document(
        &self,
        request: Request<v1::GetDocumentRequest>,
    ) -> Answer<v1::GetDocumentResponse> {
        let found = async {
            let document = self.document(&request.get_ref().slug, &granted(&request)?.principal).await?;
            Ok(v1::GetDocumentResponse { document: Some(document) })
        };
        answer(found.await)
    }

    async fn mark_document(
        &self,
        request: Request<v1::MarkDocumentRequest>,
    ) -> Answer<v1::MarkDocumentResponse> {
        let marked = async {
            let (message, granted) = (request.get_ref(), granted(&request)?);
            let slug = name("slug", &message.slug)?;
            self.shelf().mark(slug, message.version, &granted.principal, message.is_read).await?;
            Ok(v1::MarkDocumentResponse {})
        };
        answer(marked.await)
    }

    async fn delete_document(
        &self,
        request: Request<v1::DeleteDocumentRequest>,
    ) -> Answer<v1::DeleteDocumentResponse> {
        let deleted = async {
            let slug = name("slug", &request.get_ref().slug)?;
            self.shelf().delete(slug, &granted(&request)?.principal).await?;
            Ok(v1::DeleteDocumentResponse {})
        };
        answer(deleted.await)
    }
}
