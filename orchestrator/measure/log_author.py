"""Which server wrote a log: what its lines mean is known of vLLM and llama.cpp alone."""

import re

# The first that is found decides: a vLLM log may hold lines of TensorRT-LLM's kernels, and one of
# SGLang old paths of vLLM's models.
_WROTE: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("vLLM", re.compile(r"vLLM API server|LLM engine \(v\d|vllm/(?:v1|entrypoints|engine)/"
                        r"|\((?:APIServer|EngineCore|Worker)\w{0,30}[ )]")),
    ("SGLang", re.compile(r"server_args=ServerArgs\(|sglang/srt/|sglang\.launch_server"
                          r"|The server is fired up and ready to roll")),
    ("TensorRT-LLM", re.compile(r"\[T(?:ensor)?RT-LLM\]|tensorrt_llm/")),
    ("TGI", re.compile(r"text_generation_(?:launcher|router|server)")),
    ("LMDeploy", re.compile(r"\[TM\]\[(?:INFO|WARNING|ERROR|FATAL)\]|- lmdeploy - |lmdeploy/")),
    ("Ollama", re.compile(r"level=[A-Z]{4,5} source=\S{1,80}\.go:\d")),
    ("llama.cpp", re.compile(r"llama_model_loader|ggml_\w{1,30}:|\bllama_\w{1,30}: |srv {1,9}\w")),
)  # fmt: skip
_READ = ("vLLM", "llama.cpp")
_ERROR = re.compile(
    r"(?:\[E\]|\[ERROR\]|what\(\): |ERROR\]|\b[\w.]{1,80}(?:Error|Exception):) {0,3}\S[^\n]{0,200}"
)


def author(log: str) -> str | None:
    """Name the server that wrote a log; None where it does not tell."""
    return next((name for name, pattern in _WROTE if pattern.search(log)), None)


def foreign_advice(log: str) -> str | None:
    """Say whose log it is where its words are not known here, with its first error; else None."""
    name = author(log)
    if name is None or name in _READ:
        return None
    error = _ERROR.search(log)
    told = f"; its first error: {error[0].strip()}" if error else ""
    return (
        f"a log of {name}, whose words are not known here: "
        f"neither its layout nor why it failed is read{told}"
    )
