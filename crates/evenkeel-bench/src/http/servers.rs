//! The same routes, served in five ways.

use std::{
    convert::Infallible,
    io::{self, Read, Write},
    process::ExitCode,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    routing::{get, post},
};
use clap::ValueEnum;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;

use crate::child;

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contender {
    /// `evenkeel_http::serve`.
    EvenkeelHttp,
    /// `App::http`.
    AppHttp,
    /// `axum::serve`.
    AxumServe,
    /// hyper with the router behind it.
    Hyper,
    /// hyper with a function behind it.
    HyperFn,
}

impl Contender {
    pub(crate) const ALL: [Self; 5] = [Self::EvenkeelHttp, Self::AppHttp, Self::AxumServe, Self::Hyper, Self::HyperFn];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EvenkeelHttp => "evenkeel-http",
            Self::AppHttp => "App::http",
            Self::AxumServe => "axum::serve",
            Self::Hyper => "hyper + router",
            Self::HyperFn => "hyper + function",
        }
    }
}

/// What everybody serves.
fn router() -> Router {
    Router::new().route("/", get(async || "Hello, World!")).route("/orders", post(take_order))
}

async fn take_order(body: Bytes) -> (StatusCode, &'static str) {
    if body.len() == 1024 { (StatusCode::OK, "taken") } else { (StatusCode::BAD_REQUEST, "what?") }
}

/// The same without a router.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match (request.method(), request.uri().path()) {
        (&hyper::Method::GET, "/") => "Hello, World!",
        (&hyper::Method::POST, "/orders") => {
            match request.into_body().collect().await.map(|body| body.to_bytes().len()) {
                Ok(1024) => "taken",
                _ => return Ok(status(StatusCode::BAD_REQUEST)),
            }
        }
        _ => return Ok(status(StatusCode::NOT_FOUND)),
    };
    let mut response = Response::new(Full::from(text));
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    Ok(response)
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Serves, says where, and ends when standard input does.
pub(crate) fn serve(contender: Contender, core: Option<usize>) -> ExitCode {
    if let Some(core) = core {
        child::prepare(core);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime of one thread");
    runtime.block_on(async {
        // On the runtime's own thread, like everything that a server does.
        tokio::spawn(run(contender)).await.expect("the server does not panic");
    });
    runtime.shutdown_timeout(Duration::ZERO);
    ExitCode::SUCCESS
}

async fn run(contender: Contender) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it listens");
    let (told, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        drop(told);
    });
    let say = |addr: std::net::SocketAddr| {
        println!("{addr}");
        let _ = io::stdout().flush();
    };
    match contender {
        Contender::EvenkeelHttp => {
            let serving = evenkeel_http::serve(listener, router()).expect("it serves");
            say(addr);
            let _ = ended.await;
            drop(serving);
        }
        Contender::AppHttp => {
            drop(listener);
            let app = evenkeel::App::new("bench");
            let api = app.http("api", (), "127.0.0.1:0", |()| router());
            let running = app.start().await.expect("it starts");
            say(running.get(&api).expect("it is up").addr());
            let _ = ended.await;
            running.stop("bench").await;
        }
        Contender::AxumServe => {
            tokio::spawn(async { axum::serve(listener, router()).await });
            say(addr);
            let _ = ended.await;
        }
        Contender::Hyper => {
            let service = TowerToHyperService::new(router());
            tokio::spawn(by_hand(listener, service));
            say(addr);
            let _ = ended.await;
        }
        Contender::HyperFn => {
            tokio::spawn(by_hand(listener, service_fn(answer)));
            say(addr);
            let _ = ended.await;
        }
    }
}

/// What one writes where neither axum nor Evenkeel does it.
async fn by_hand<S, B>(listener: TcpListener, service: S)
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
}
