//! What displays get to show: the vertices people know, in number and name, and the step-by-step plan.

use shipway_build::{BuildOptions, Flavour, ProgressEvent};

use crate::support::Bench;

const MULTI_STAGE: &str = "FROM diamol/base AS build-stage
RUN write /build.txt Building...

FROM diamol/base AS test-stage
COPY --from=build-stage /build.txt /build.txt
RUN write /build.txt Testing...

FROM diamol/base
COPY --from=test-stage /build.txt /build.txt
CMD cat /build.txt
";

const ACCESS_LOG: &str = "FROM diamol/node AS builder

WORKDIR /src
COPY src/package.json .

RUN write /src/node_modules/x/index.js module

# app
FROM diamol/node

EXPOSE 80
CMD [\"node\", \"server.js\"]

WORKDIR /app
COPY --from=builder /src/node_modules/ /app/node_modules/
COPY src/ .
";

const IMAGE_GALLERY: &str = "FROM diamol/golang AS builder

COPY main.go .
RUN write /server binary

# app
FROM diamol/base

ENV IMAGE_API_URL=\"http://iotd/image\" \\
    ACCESS_API_URL=\"http://accesslog/access-log\"
CMD [\"/web/server\"]

WORKDIR web
COPY index.html .
COPY --from=builder /server .
RUN mkdir /web/x
";

const IMAGE_OF_THE_DAY: &str = "FROM diamol/maven AS builder

WORKDIR /usr/src/iotd
COPY pom.xml .
RUN write /root/.m2/x y

COPY . .
RUN write /usr/src/iotd/target/iotd-service-0.1.0.jar jar

# app
FROM diamol/openjdk

WORKDIR /app
COPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0.jar .

EXPOSE 80
ENTRYPOINT [\"java\", \"-jar\", \"/app/iotd-service-0.1.0.jar\"]
";

fn lessons() -> Bench {
    let bench = Bench::new();
    for name in ["node", "golang", "maven", "openjdk"] {
        bench.image(&format!("diamol/{name}"), &[("bin/sh", "shell"), ("bin/tool", name)]);
    }
    bench.file("src/package.json", "{}");
    bench.file("src/server.js", "serve");
    for file in ["main.go", "index.html", "pom.xml"] {
        bench.file(file, file);
    }
    bench
}

#[tokio::test]
async fn the_lessons_have_the_vertex_counts_people_know() {
    let bench = lessons();
    for (dockerfile, expected) in [(MULTI_STAGE, 9), (ACCESS_LOG, 12), (IMAGE_GALLERY, 14), (IMAGE_OF_THE_DAY, 15)] {
        for round in ["first", "again"] {
            bench.build(dockerfile).await;
            let names = bench.vertex_names();
            assert_eq!(names.len(), expected, "{round}: {names:#?}");
        }
    }
}

#[tokio::test]
async fn vertices_are_named_as_the_lessons_show_them() {
    let bench = lessons();
    bench.build(IMAGE_OF_THE_DAY).await;
    let mut names = bench.vertex_names();
    names.sort();
    let expected = [
        "[builder 1/6] FROM docker.io/diamol/maven:latest",
        "[builder 2/6] WORKDIR /usr/src/iotd",
        "[builder 3/6] COPY pom.xml .",
        "[builder 4/6] RUN write /root/.m2/x y",
        "[builder 5/6] COPY . .",
        "[builder 6/6] RUN write /usr/src/iotd/target/iotd-service-0.1.0.jar jar",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "[internal] load build definition from Dockerfile",
        "[internal] load metadata for docker.io/diamol/maven:latest",
        "[internal] load metadata for docker.io/diamol/openjdk:latest",
        "[stage-1 1/3] FROM docker.io/diamol/openjdk:latest",
        "[stage-1 2/3] WORKDIR /app",
        "[stage-1 3/3] COPY --from=builder /usr/src/iotd/target/iotd-service-0.1.0.jar .",
        "exporting to image",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn every_started_vertex_is_announced_before_and_completed_once() {
    let bench = lessons();
    bench.build(IMAGE_OF_THE_DAY).await;
    let events = bench.events.lock().unwrap();
    let (mut known, mut open, mut done) = (vec![], vec![], 0);
    for event in events.iter() {
        match event {
            ProgressEvent::Vertex { id, inputs, .. } => {
                assert!(inputs.iter().all(|input| known.contains(input)));
                known.push(*id);
            }
            ProgressEvent::Started { id, .. } => {
                assert!(known.contains(id) && !open.contains(id));
                open.push(*id);
            }
            ProgressEvent::Completed { id, error, .. } => {
                assert!(open.contains(id) && error.is_none());
                done += 1;
            }
            ProgressEvent::Status { id, .. } | ProgressEvent::Log { id, .. } => assert!(open.contains(id)),
            _ => {}
        }
    }
    assert_eq!((known.len(), open.len(), done), (15, 15, 15));
    assert!(matches!(events.last(), Some(ProgressEvent::Finished { image: Some(_), .. })));
    let json = serde_json::to_string(&*events).unwrap();
    assert_eq!(serde_json::from_str::<Vec<ProgressEvent>>(&json).unwrap(), *events);
}

#[tokio::test]
async fn the_classic_display_gets_every_instruction_with_an_image_id() {
    let bench = Bench::new();
    let options = || BuildOptions { flavour: Flavour::Classic, ..BuildOptions::default() };
    let dockerfile = "FROM diamol/base AS unused\nRUN fail 1\nFROM diamol/base\nENV A=b\nRUN say hi\nCMD [\"sh\"]\n";
    let outcome = bench.build_with(dockerfile, options()).await;
    let events = bench.events.lock().unwrap().clone();
    let steps = events.iter().find_map(|event| if let ProgressEvent::Plan { steps } = event { Some(steps.clone()) } else { None }).unwrap();
    let shown: Vec<String> = steps.iter().map(|step| format!("{}/{} : {}", step.number, step.total, step.display)).collect();
    assert_eq!(shown, ["1/4 : FROM diamol/base", "2/4 : ENV A=b", "3/4 : RUN say hi", "4/4 : CMD [\"sh\"]"]);
    let images: Vec<_> = events
        .iter()
        .filter_map(|event| if let ProgressEvent::StepImage { step, image, .. } = event { Some((*step, *image)) } else { None })
        .collect();
    assert_eq!(images.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(images[3].1, outcome.image);
    assert_eq!(images.iter().map(|(_, image)| image).collect::<std::collections::HashSet<_>>().len(), 4);
    assert!(events.iter().any(|event| matches!(event, ProgressEvent::StepRunning { step: 3, .. })));
    let place = |wanted: &dyn Fn(&ProgressEvent) -> bool| events.iter().position(wanted).unwrap();
    let running = place(&|event| matches!(event, ProgressEvent::StepRunning { .. }));
    assert!(place(&|event| matches!(event, ProgressEvent::StepImage { step: 2, .. })) < running, "told while the build goes on");
    let again = bench.build(dockerfile).await;
    assert_eq!(again.image, outcome.image, "one image whatever the display");
}

#[tokio::test]
async fn output_is_passed_on_as_it_was_written() {
    let bench = Bench::new();
    bench.build("FROM diamol/base\nRUN say one; say two words; show /etc/passwd\n").await;
    assert!(bench.log().starts_with("one \ntwo words\nroot:x:0:0"), "{}", bench.log());
}
