"""Announces the sources of published datasets."""

from __future__ import annotations

from mmadapt.hookspecs import Register, hookimpl

SOURCES = {
    "coco": ("coco:CocoSource", "COCO captions, official or Karpathy's split"),
    "vqav2": ("vqav2:Vqav2Source", "VQAv2's official questions and annotations"),
    "gqa": ("gqa:GqaSource", "GQA's official questions"),
    "scienceqa": ("scienceqa:ScienceqaSource", "ScienceQA's problems with and without images"),
    "llava": ("conversations:LlavaSource", "LLaVA-instruct and ShareGPT conversations"),
    "lavin": ("conversations:LavinSource", "LaVIN's all_data.json"),
    "msrvtt": ("video:MsrvttSource", "MSR-VTT captions"),
    "video_qa": ("video:VideoQaSource", "MSRVTT-QA and MSVD-QA"),
    "audiocaps": ("audio:AudiocapsSource", "AudioCaps captions"),
    "clotho": ("audio:ClothoSource", "Clotho captions"),
    "hf": ("hf:HfSource", "Hugging Face datasets: hub, saved to disk, parquet and other files"),
    "webdataset": ("webdataset:WebdatasetSource", "WebDataset tar shards"),
}


@hookimpl
def register_sources(register: Register) -> None:
    """Announce the sources."""
    for name, (target, summary) in SOURCES.items():
        register(name, f"mmadapt_datasets.{target}", summary)
