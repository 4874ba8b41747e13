# docker build -f containers/cpu.Dockerfile -t exif-jax .
# docker run --rm --network none -v "$PWD:/photos" -w /photos exif-jax photo.jpg
# The page: docker run --rm -p 127.0.0.1:8642:8642 -e EXIF_JAX_TOKEN --entrypoint exif-serve exif-jax \
#     --host 0.0.0.0
FROM python:3.12-slim
COPY . /src
RUN python -m pip install --no-cache-dir --no-deps -c /src/constraints.txt \
        -r /src/requirements-light.txt \
    && python -m pip install --no-cache-dir --no-deps /src && rm -r /src
# No root, and nothing to write but the folder that is mounted.
RUN useradd --create-home analyst
USER analyst
ENTRYPOINT ["exif-localize"]
