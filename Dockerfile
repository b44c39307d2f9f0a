# A CPU image of `reid serve`. Build: docker build -t reid-lightning .   How to run it: docs/serving.md
FROM python:3.12-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE train.py sweep.yaml ./
COPY conf conf
COPY reid_lightning reid_lightning
RUN python -m build --wheel --outdir /wheels

FROM python:3.12-slim
# torch and torchvision come from one place: those of different places do not fit each other.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.11" "torchvision>=0.26"
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[serve]" && rm -r /wheels
RUN useradd --create-home --uid 10001 reid && mkdir -p /gallery /model && chown reid /gallery
USER reid
WORKDIR /home/reid
ENV WANDB_MODE=disabled PYTHONUNBUFFERED=1
EXPOSE 8000
VOLUME /gallery
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
  ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# REID_TOKEN or --token-file is needed, because the server listens to other machines.
ENTRYPOINT ["reid", "serve", "/gallery", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--model", "/model/best.ckpt"]
