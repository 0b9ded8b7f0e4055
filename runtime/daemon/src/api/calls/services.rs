//! Owns the calls about services.

use api::v1;
use api::v1::services_server::Services;
use async_trait::async_trait;
use effect::Result;
use journal::Record;
use serde_json::Value;
use tonic::Request;

use super::{Answer, answer, cause, granted};
use crate::api::Api;
use crate::api::fields::{name, word};
use crate::api::gate::{Granted, unknown_service};
use crate::api::page::{Question, fill, size};

/// The kind of the registry's records.
const KIND: &str = "service";
const OPERATIONS: &[&str] = &["stop", "start", "restart", "undeploy"];

fn service(record: Record) -> v1::Service {
    let version = serde_json::from_str::<Value>(&record.value)
        .ok()
        .and_then(|value| Some(value.get("version")?.as_str()?.to_owned()));
    v1::Service {
        name: record.name,
        node: record.node,
        version: version.unwrap_or_default(),
        desired: record.value,
        run: record.run.map(|run| run.to_string()),
        updated: record.at.0,
    }
}

impl Api {
    async fn services(
        &self,
        request: &v1::ListServicesRequest,
        granted: &Granted,
    ) -> Result<v1::ListServicesResponse> {
        let question = Question { call: "ListServices", about: "" };
        let after = question.position(&request.page_token)?;
        let records = self.rooms().journal.records(KIND, Some(&self.rooms().node)).await?;
        let rest: Vec<Record> = records
            .into_iter()
            .filter(|record| after.as_ref().is_none_or(|after| record.name > *after))
            .filter(|record| granted.may("services.read", &record.name))
            .collect();
        let most = size(request.page_size);
        let is_last = rest.len() <= most;
        let (services, is_whole) = fill(rest.into_iter().take(most).map(service).collect());
        let next_page_token = match services.last() {
            Some(last) if !is_last || !is_whole => question.token(&last.name),
            _ => String::new(),
        };
        Ok(v1::ListServicesResponse { services, next_page_token })
    }
}

#[async_trait]
impl Services for Api {
    async fn list_services(
        &self,
        request: Request<v1::ListServicesRequest>,
    ) -> Answer<v1::ListServicesResponse> {
        let listed = async { self.services(request.get_ref(), granted(&request)?).await };
        answer(listed.await)
    }

    async fn get_service(&self, request: Request<v1::GetServiceRequest>) -> Answer<v1::GetServiceResponse> {
        let found = async {
            let wanted = name("name", &request.get_ref().name)?;
            let record = self.rooms().journal.record(KIND, &self.rooms().node, wanted).await?;
            let record = record.ok_or_else(|| unknown_service(wanted))?;
            Ok(v1::GetServiceResponse { service: Some(service(record)) })
        };
        answer(found.await)
    }

    async fn operate_service(
        &self,
        request: Request<v1::OperateServiceRequest>,
    ) -> Answer<v1::OperateServiceResponse> {
        let operated = async {
            let v1::OperateServiceRequest { name: wanted, operation } = request.get_ref();
            let (wanted, operation) = (name("name", wanted)?, word("operation", operation, OPERATIONS)?);
            let run = self.rooms().runs.operate(operation, wanted, cause(&request)).await?;
            Ok(v1::OperateServiceResponse { run: run.to_string() })
        };
        answer(operated.await)
    }
}
