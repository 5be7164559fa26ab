// The mask of a frame: which pixels are the person, as a picture to paint on.

/** A mask of a size, in which nothing is the person yet. */
export function makeMask(width, height) {
  const small = () => Object.assign(document.createElement("canvas"), { width, height });
  const mask = small(); // white with alpha: the person
  const shade = small();

  /** Take the mask from a gray picture: its brightness becomes alpha. */
  function set(image) {
    const pen = mask.getContext("2d", { willReadFrequently: true });
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, width, height);
    pen.drawImage(image, 0, 0);
    const data = pen.getImageData(0, 0, width, height);
    for (let i = 0; i < data.data.length; i += 4) {
      data.data[i + 3] = data.data[i];
      data.data[i] = data.data[i + 1] = data.data[i + 2] = 255;
    }
    pen.putImageData(data, 0, 0);
  }

  /** The mask as it is now, as gray pixels. */
  function copy() {
    const out = small();
    const pen = out.getContext("2d");
    pen.fillStyle = "black";
    pen.fillRect(0, 0, width, height);
    pen.drawImage(mask, 0, 0);
    return out;
  }

  /** Dim what is not the person on the canvas of a context, with an edge in color. */
  function dim(context) {
    const pen = shade.getContext("2d");
    pen.globalCompositeOperation = "copy";
    pen.fillStyle = "rgb(20 10 40 / 72%)";
    pen.fillRect(0, 0, width, height);
    pen.globalCompositeOperation = "destination-out";
    pen.drawImage(mask, 0, 0);
    context.drawImage(shade, 0, 0, context.canvas.width, context.canvas.height);
  }

  /** Paint the person along a line, or erase it; radius: of the brush, in pixels. */
  function brush(from, to, radius, erases) {
    const pen = mask.getContext("2d");
    pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
    pen.strokeStyle = "white";
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = 2 * radius;
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(to[0] + 0.01, to[1]);
    pen.stroke();
  }

  return { set, copy, dim, brush };
}
