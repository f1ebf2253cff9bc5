"""Commands to copy, with which the help of each verb ends. A test parses every one; knows nothing else of the verbs."""

EXAMPLES = {
    "run": (
        "edge-tl run photos/ --open",
        "edge-tl run photos/ --model efficientnet_b0 --max-drop 1 --out work/",
    ),
    "finetune": (
        "edge-tl finetune photos/ --model mobilenet_v2",
        "edge-tl finetune photos/ --strategy full --epochs 8 --out runs/full",
        "edge-tl finetune my.yaml --set train.lr=1e-3 --resume",
    ),
    "import": (
        "edge-tl import classifier.pth --model mobilenet_v2 --data photos/",
        "edge-tl import classifier.safetensors --factory mine.nets:build --data photos/ --labels labels.txt",
    ),
    "export": (
        "edge-tl export latest --int8",
        "edge-tl export runs/photos-mobilenet_v2 --int8 --max-drop 1 --target-cpu arm --out exported/board",
    ),
    "verify": (
        "edge-tl verify exported/photos-mobilenet_v2",
        "edge-tl verify latest --data held-out/ --out verified.json",
        "edge-tl verify latest --on pi@shed.local",
    ),
    "bench": (
        "edge-tl bench exported/photos-mobilenet_v2 --quick",
        "edge-tl bench latest --artifact onnx-int8 --fps 15 --seconds 60 --out bench.json",
        "edge-tl bench --compare before.json after.json --fail-if-slower 5%",
    ),
    "tune": (
        "edge-tl tune exported/photos-mobilenet_v2",
        "edge-tl tune latest --objective throughput --max-p95 20",
    ),
    "gate": ("edge-tl gate latest --max-drop 0.5 --max-p95-ms 20 --junit gate.xml",),
    "predict": (
        "edge-tl predict latest image.jpg",
        "edge-tl predict exported/photos-mobilenet_v2 folder/ 'more/**/*.png' --out answers.csv",
        "edge-tl predict latest --source 0 --fps 2 --frames 20",
    ),
    "serve": (
        "edge-tl serve latest --port 8000",
        "edge-tl serve exported/photos-mobilenet_v2 --host 0.0.0.0 --api-key-file key.txt",
    ),
    "report": (
        "edge-tl report latest --open",
        "edge-tl report exported/photos-mobilenet_v2 --out page/",
    ),
    "web": ("edge-tl web exported/photos-mobilenet_v2 --npm --out page/",),
    "slim": ("edge-tl slim exported/photos-mobilenet_v2 --keep onnx-int8 --out small/",),
    "snippet": (
        "edge-tl snippet latest --lang python",
        "edge-tl snippet exported/photos-mobilenet_v2 --lang cpp --runtime openvino --out main.cpp",
    ),
    "diagnose": (
        "edge-tl diagnose exported/photos-mobilenet_v2 answers.csv",
        "edge-tl diagnose latest answers.csv --kind logits --artifact onnx-int8",
    ),
    "devices": ("edge-tl devices", "edge-tl devices --on pi@shed.local --json"),
    "compare": (
        "edge-tl compare photos/ --models mobilenet_v2,efficientnet_lite0 --max-latency-ms 20",
        "edge-tl compare photos/ --strategies head,lp-ft --lrs 5e-4,1e-3 --out compared/rates",
    ),
    "models": ("edge-tl models",),
    "recipes ls": ("edge-tl recipes ls",),
    "recipes show": ("edge-tl recipes show demo",),
    "recipes copy": ("edge-tl recipes copy demo my.yaml",),
    "recipes check": ("edge-tl recipes check my.yaml",),
    "demo": ("edge-tl demo", "edge-tl demo --out demo2 --open"),
}
