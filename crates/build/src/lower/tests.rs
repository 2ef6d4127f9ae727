//! Lowering as a picture of the graph.

use std::collections::HashMap;

use shipway_dockerfile::parse;
use shipway_model::{ImageConfig, ImageId, LayerId};

use shipway_dockerfile::SourceText;

use super::*;
use crate::graph::CopySource;

/// Lowers `text` with the image `base` known and draws one line per vertex.
fn draw(text: &str) -> Vec<String> {
    let parsed = parse(&SourceText::new("Dockerfile", text));
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let reference = Reference::parse("base").unwrap().with_default_tag();
    let image = ResolvedImage {
        id: ImageId(shipway_model::Digest::sha256_of(b"base")),
        config: ImageConfig::default(),
        layers: vec![LayerId::from_random([1; 32])],
        digest: None,
        reference: reference.clone(),
    };
    let images = HashMap::from([(reference.canonical(), Arc::new(image))]);
    let (options, platform) = (BuildOptions::default(), Platform::new("linux", "amd64", None));
    let target = parsed.dockerfile.target(None).unwrap();
    let recipe = Recipe {
        dockerfile: &parsed.dockerfile,
        options: &options,
        platform: &platform,
        images: &images,
        target,
        first_id: 10,
        has_context: true,
    };
    match lower(&recipe) {
        Ok(Lowered::Graph(plan)) => plan.graph.iter().map(|(index, vertex)| line(index, vertex)).collect(),
        Ok(Lowered::Wishes(wishes)) => wishes.iter().map(|wish| format!("wish {}", wish.reference.familiar())).collect(),
        Err(diagnostics) => diagnostics.iter().map(|diagnostic| format!("{}: {}", diagnostic.code, diagnostic.message)).collect(),
    }
}

fn line(index: VertexIndex, vertex: &crate::graph::Vertex) -> String {
    let parent = vertex.parent.map_or("-".to_owned(), |parent| parent.0.to_string());
    let what = match &vertex.op {
        Op::Image(_) => "image".to_owned(),
        Op::Context => "context".to_owned(),
        Op::Run(run) => {
            format!("run {:?} in {} with {:?}", run.args.last().map(String::as_str).unwrap_or_default(), run.cwd, &run.env[1..])
        }
        Op::Workdir(workdir) => format!("workdir {} of {:?}", workdir.path, workdir.user),
        Op::Copy(copy) => {
            let sources: Vec<String> = copy
                .sources
                .iter()
                .map(|source| match source {
                    CopySource::Context { pattern } => format!("context:{pattern}"),
                    CopySource::Tree { vertex, pattern } => {
                        format!("{}:{pattern}", vertex.map_or("-".to_owned(), |vertex| vertex.0.to_string()))
                    }
                    CopySource::Inline { content, .. } => format!("{content:?}"),
                    CopySource::Url { url } => url.clone(),
                })
                .collect();
            format!("copy {} to {}", sources.join(" "), copy.destination)
        }
    };
    format!("{} on {parent}: {what} | {}", index.0, vertex.face.name)
}

#[test]
fn a_graph_of_several_stages() {
    let text = "ARG TAG=latest
FROM base:$TAG AS one
ARG V=7
ENV E=e$V
WORKDIR /w
COPY a $E ./
RUN make $V
FROM scratch AS unused
COPY x /
FROM base
COPY --from=one /w/out /out/
COPY --from=one /w/out /out/
ADD http://h/f /f
WORKDIR /
CMD [\"x\"]
";
    let expected = [
        "0 on -: image | [one 1/4] FROM docker.io/library/base:latest",
        "1 on 0: workdir /w of \"\" | [one 2/4] WORKDIR /w",
        "2 on -: context | [internal] load build context",
        "3 on 1: copy context:a context:e7 to /w/ | [one 3/4] COPY a $E ./",
        "4 on 3: run \"make $V\" in /w with [\"E=e7\", \"V=7\"] | [one 4/4] RUN make $V",
        "5 on 0: copy 4:/w/out to /out/ | [stage-2 2/5] COPY --from=one /w/out /out/",
        "6 on 5: copy 4:/w/out to /out/ | [stage-2 3/5] COPY --from=one /w/out /out/",
        "7 on 6: copy http://h/f to /f | [stage-2 4/5] ADD http://h/f /f",
    ];
    assert_eq!(draw(text), expected);
}

#[test]
fn images_not_known_yet_are_wished_for_all_at_once() {
    assert_eq!(
        draw("FROM one AS a\nFROM two\nCOPY --from=a /x /x\nCOPY --from=three/x /x /y\n"),
        ["wish one:latest", "wish two:latest", "wish three/x:latest"]
    );
}

#[test]
fn findings_of_several_instructions_come_together() {
    let drawn = draw("FROM base\nENV M=99x S=NOPE P=99999 D=d\nCOPY --chmod=$M a /\nSTOPSIGNAL $S\nEXPOSE $P\nCOPY a b $D\n");
    let codes: Vec<&str> = drawn.iter().map(|line| line.split(':').next().unwrap_or_default()).collect();
    assert_eq!(codes, ["E-CHMOD", "E-STOPSIGNAL", "E-EXPOSE", "E-COPY-DESTINATION"], "{drawn:#?}");
}

#[test]
fn steps_are_padded_to_the_width_of_their_number() {
    let text = format!("FROM base\n{}", "RUN x\n".repeat(10));
    let names = draw(&text);
    assert!(names[1].ends_with("[ 2/11] RUN x") && names[10].ends_with("[11/11] RUN x"), "{names:#?}");
}
