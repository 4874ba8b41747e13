"use strict";
// The viewer of a report: layers over the photo, and which patches agree with the one pointed at.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const stage = by("stage"), heat = by("heat"), mark = by("patch"), status = by("status");
  const blend = by("blend"), layers = { map: by("map"), parts: by("parts"), colours: by("colours"), explore: heat };
  document.documentElement.classList.add("js");

  // Embeddings: int16, little endian, P rows of K values.
  const bytes = Uint8Array.from(atob(data.embeddings), (c) => c.charCodeAt(0));
  const values = new Int16Array(bytes.buffer);
  const { rows, columns, components: K, unit, palette } = data;
  const place = (element, [x, y, width, height]) => {
    Object.assign(element.style, {
      left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%`,
    });
  };
  for (const element of [by("parts"), by("colours"), heat]) place(element, data.cells);
  // Fits the window: the whole photo is seen at once, also one that stands.
  const fit = () => {
    const room = Math.max(240, 0.8 * window.innerHeight) * data.aspect;
    stage.style.aspectRatio = String(data.aspect);
    stage.style.maxWidth = `${room}px`;
  };
  window.addEventListener("resize", fit);
  fit();

  let layer = "map", pinned = false, chosen = Math.floor(rows / 2) * columns + Math.floor(columns / 2);

  const cosines = (from) => {
    const result = new Float32Array(rows * columns);
    for (let p = 0; p < result.length; p++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += values[from * K + k] * values[p * K + k];
      result[p] = sum * unit * unit;
    }
    return result;
  };

  const explore = (other) => {
    const agreements = cosines(chosen), context = heat.getContext("2d");
    const picture = context.createImageData(columns, rows);
    agreements.forEach((cosine, p) => {
      const level = Math.round(255 * Math.min(1, Math.max(0, 1 - cosine)));
      for (let c = 0; c < 3; c++) picture.data[4 * p + c] = palette[3 * level + c];
      picture.data[4 * p + 3] = 255;
    });
    context.putImageData(picture, 0, 0);
    const row = Math.floor(chosen / columns), column = chosen % columns;
    const [x, y, width, height] = data.patches;
    place(mark, [x + (column * data.step[0]), y + (row * data.step[1]), width, height]);
    const alike = agreements.reduce((count, cosine) => count + (cosine > 0.5), 0);
    const words = [
      `Patch in row ${row + 1}, column ${column + 1}: ${alike} of ${agreements.length} patches agree with it by more than 0.5.`,
    ];
    if (other !== undefined && other !== chosen) {
      words.push(`Under the pointer: row ${Math.floor(other / columns) + 1}, column ${other % columns + 1}, agreement ${agreements[other].toFixed(2)}.`);
    }
    status.textContent = words.join(" ");
  };

  const show = () => {
    for (const [name, element] of Object.entries(layers)) {
      element.hidden = name !== layer;
      element.style.opacity = String(blend.value / 100);
    }
    mark.hidden = layer !== "explore";
    stage.classList.toggle("exploring", layer === "explore");
    blend.disabled = layer === "photo";
    if (layer === "explore") explore();
    else status.textContent = data.words[layer];
  };

  const patchAt = (event) => {
    const box = stage.getBoundingClientRect();
    const [x, y, width, height] = data.cells;
    const column = Math.floor(((event.clientX - box.left) / box.width - x) / width * columns);
    const row = Math.floor(((event.clientY - box.top) / box.height - y) / height * rows);
    const inside = (value, count) => Math.min(count - 1, Math.max(0, value));
    return inside(row, rows) * columns + inside(column, columns);
  };

  stage.addEventListener("pointermove", (event) => {
    if (layer !== "explore" || event.pointerType !== "mouse") return;
    if (!pinned) chosen = patchAt(event);
    explore(patchAt(event));
  });
  stage.addEventListener("click", (event) => {
    if (layer !== "explore") return;
    // A finger cannot point without touching: it always chooses. A mouse pins what it points at.
    pinned = event.pointerType !== "mouse" || !pinned;
    chosen = patchAt(event);
    explore();
  });
  stage.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    if (layer !== "explore") {
      layer = "explore";
      document.querySelector("input[value=explore]").checked = true;
    } else {
      const row = Math.min(rows - 1, Math.max(0, Math.floor(chosen / columns) + move[0]));
      const column = Math.min(columns - 1, Math.max(0, chosen % columns + move[1]));
      chosen = row * columns + column;
    }
    show();
  });
  blend.addEventListener("input", show);
  const outlined = by("outlined");
  if (outlined) outlined.addEventListener("change", () => {
    stage.querySelector(".outline").style.display = outlined.checked ? "" : "none";
  });
  for (const input of document.querySelectorAll("input[name=layer]")) {
    input.addEventListener("change", () => { layer = input.value; show(); });
  }
  show();
})();
