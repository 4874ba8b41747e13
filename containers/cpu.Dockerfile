# docker build -f containers/cpu.Dockerfile -t exif-jax .
# docker run --rm --network none -v "$PWD:/photos" -w /photos exif-jax photo.jpg
FROM python:3.12-slim
COPY . /src
RUN python -m pip install --no-cache-dir -c /src/constraints.txt /src && rm -r /src
# No root, and nothing to write but the folder that is mounted.
RUN useradd --create-home analyst
USER analyst
ENTRYPOINT ["exif-localize"]
