# Pruning without training: no torch. Build it in a clone of the project; it was linted and not built here.
#
#   docker build -t onnxprune .
#   docker run --rm -v "$PWD:/work" onnxprune model.onnx --data calib/ --macs 50%
FROM python:3.12-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY onnxprune onnxprune
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
RUN useradd --create-home user
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir /wheel/*.whl && rm -r /wheel
USER user
WORKDIR /work
ENTRYPOINT ["onnxprune"]
