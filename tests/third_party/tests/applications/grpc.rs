//! A service of tonic's, asked by tonic's client.

use tonic::Code;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Status;
use tonic_health::pb::health_client::HealthClient;

use crate::serving::{Serving, in_each_class};

#[test]
fn calls_streams_and_errors() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    in_each_class(|class| {
        let (reporter, service) = tonic_health::server::health_reporter();
        let server = Serving::start(class, Routes::new(service));
        runtime.block_on(async {
            reporter
                .set_service_status("shop", ServingStatus::Serving)
                .await;
            let channel = Endpoint::from_shared(server.url(""))
                .unwrap()
                .connect()
                .await
                .unwrap();
            let mut client = HealthClient::new(channel);
            let service = |service: &str| HealthCheckRequest {
                service: service.to_owned(),
            };
            let answer = client.check(service("shop")).await.unwrap().into_inner();
            assert_eq!(answer.status(), Status::Serving);
            // Told in the trailers.
            let error = client.check(service("nobody")).await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound);

            let mut changes = client.watch(service("shop")).await.unwrap().into_inner();
            let first = changes.message().await.unwrap().unwrap();
            assert_eq!(first.status(), Status::Serving);
            reporter
                .set_service_status("shop", ServingStatus::NotServing)
                .await;
            let second = changes.message().await.unwrap().unwrap();
            assert_eq!(second.status(), Status::NotServing);
        });
    });
}
