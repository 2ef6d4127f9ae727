//! Later processes in a running container.

use http::StatusCode;
use shipway_engine::containers::ExecSpec;
use shipway_model::ErrorKind;
use shipway_wire::exec::{ExecCreateBody, ExecInspect, ExecStartBody, IdAnswer, ProcessConfig};
use shipway_wire::stream::{Channel, frame};

use crate::answer;
use crate::detach::DetachKeys;
use crate::error::{ApiError, ApiResult};
use crate::hijack;
use crate::request::Request;
use crate::router::Api;
use crate::session;

pub(crate) async fn create(api: &Api, request: &mut Request, id: &str) -> ApiResult {
    let body: ExecCreateBody = request.read_json().await?;
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    // dockerd has another word for them here than when attaching.
    let unknown = |_| ApiError::invalid(format!("Invalid escape keys ({}) provided", body.detach_keys));
    DetachKeys::parse(&body.detach_keys).map_err(unknown)?;
    let spec = ExecSpec {
        args: body.cmd.unwrap_or_default().0,
        env: body.env.unwrap_or_default(),
        working_dir: text(body.working_dir),
        user: text(body.user),
        tty: body.tty,
        attach_stdin: body.attach_stdin,
        attach_stdout: body.attach_stdout,
        attach_stderr: body.attach_stderr,
        privileged: body.privileged,
        detach_keys: text(body.detach_keys),
    };
    let exec = api.engine.create_exec(id, spec).await?;
    Ok(answer::json(StatusCode::CREATED, &IdAnswer { id: exec.to_string() }))
}

/// Starts an instance. As with dockerd the head is sent first and a failure to start is told inside the stream, where the docker client expects it.
pub(crate) async fn start(api: &Api, request: &mut Request, id: &str) -> ApiResult {
    let body: ExecStartBody = request.read_optional_json().await?;
    if body.detach {
        api.engine.start_exec(id, true).await?;
        return Ok(answer::status(StatusCode::OK));
    }
    let view = api.engine.inspect_exec(id)?;
    if view.running || view.exit_code.is_some() {
        return Err(ApiError::new(ErrorKind::Conflict, format!("exec instance {} has already run", view.id)));
    }
    let tty = view.spec.tty;
    let keys = DetachKeys::parse(view.spec.detach_keys.as_deref().unwrap_or(""))?;
    let head = hijack::head(request, hijack::stream_type(tty, request.version));
    let (engine, id, serving) = (api.engine.clone(), id.to_owned(), request.serving.clone());
    request
        .take_over(move |connection| {
            Box::pin(async move {
                let (incoming, mut outgoing) = connection.split();
                if outgoing.write(head.as_bytes()).await.is_err() {
                    return;
                }
                match engine.start_exec(&id, false).await {
                    Ok(Some(attachment)) => {
                        if let Some([rows, columns]) = body.console_size.filter(|_| tty) {
                            // The size is a courtesy: the client sends it again.
                            let _ = engine.resize_exec(&id, rows, columns).await;
                        }
                        session::carry(incoming, outgoing, attachment, keys).await;
                    }
                    Ok(None) => outgoing.finish(),
                    Err(error) => {
                        let text = format!("{error}\r\n");
                        let text = if tty { text.into_bytes() } else { frame(Channel::Output, text.as_bytes()) };
                        // The client may be gone; the failure is kept with the instance.
                        let _ = outgoing.write(&text).await;
                        outgoing.finish();
                    }
                }
                drop(serving);
            })
        })
        .await
}

pub(crate) async fn resize(api: &Api, request: &Request, id: &str) -> ApiResult {
    let (rows, columns) = (request.query.required_number("h")?, request.query.required_number("w")?);
    api.engine.resize_exec(id, rows, columns).await?;
    Ok(answer::status(StatusCode::OK))
}

pub(crate) fn inspect(api: &Api, id: &str) -> ApiResult {
    let view = api.engine.inspect_exec(id)?;
    let mut args = view.spec.args.iter().cloned();
    Ok(answer::ok(&ExecInspect {
        id: view.id.to_string(),
        running: view.running,
        exit_code: view.exit_code.map(i64::from),
        process_config: ProcessConfig {
            tty: view.spec.tty,
            entrypoint: args.next().unwrap_or_default(),
            arguments: args.collect(),
            privileged: Some(view.spec.privileged),
            user: view.spec.user.clone().unwrap_or_default(),
        },
        open_stdin: view.spec.attach_stdin,
        open_stderr: view.spec.attach_stderr,
        open_stdout: view.spec.attach_stdout,
        // dockerd's collector marks what ended minutes ago so, and forgets it the next time it comes by.
        can_remove: false,
        container_id: view.container.to_string(),
        detach_keys: view.spec.detach_keys.clone().unwrap_or_default(),
        pid: i64::from(view.pid),
    }))
}
