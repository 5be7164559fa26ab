// Keypoints drawn as OpenPose's skeleton, and the joint that is near a point.

/** Draw one pose of { limbs, colors, visible } on a canvas context; scale: pixels of the canvas to one of the frame. */
export function drawPose(context, pose, about, scale, { picked = -1, width = 1 } = {}) {
  const shown = (i) => pose[i][2] >= about.visible;
  const color = (i) => `rgb(${about.colors[i].join(" ")})`;
  context.lineCap = "round";
  about.limbs.forEach(([a, b], i) => {
    if (!shown(a) || !shown(b)) return;
    context.strokeStyle = color(i);
    context.globalAlpha = 0.75;
    context.lineWidth = 4 * width;
    context.beginPath();
    context.moveTo(pose[a][0] * scale, pose[a][1] * scale);
    context.lineTo(pose[b][0] * scale, pose[b][1] * scale);
    context.stroke();
  });
  context.globalAlpha = 1;
  pose.forEach((point, i) => {
    if (!shown(i)) return;
    context.beginPath();
    context.arc(point[0] * scale, point[1] * scale, (i === picked ? 7 : 4) * width, 0, 7);
    context.fillStyle = color(i);
    context.fill();
    if (i !== picked) return;
    context.lineWidth = 2;
    context.strokeStyle = "white";
    context.stroke();
  });
}

/** Draw one frame of a motion alone, on a dark ground. */
export function drawAlone(canvas, motion, frame, scale, width) {
  const context = canvas.getContext("2d");
  context.fillStyle = "#0e0d0c";
  context.fillRect(0, 0, canvas.width, canvas.height);
  drawPose(context, motion.keypoints[frame], motion, scale, { width });
}

/** The keypoint that is nearest to x, y within `reach`, of those that are shown; -1 for none. */
export function nearestJoint(pose, about, x, y, reach) {
  let [best, least] = [-1, reach];
  pose.forEach((point, i) => {
    const distance = Math.hypot(point[0] - x, point[1] - y);
    if (point[2] >= about.visible && distance <= least) [best, least] = [i, distance];
  });
  return best;
}

/** Play a motion on a canvas, over and over. Returns a function that ends it. */
export function playMotion(canvas, motion) {
  const scale = 240 / Math.max(motion.width, motion.height);
  canvas.width = motion.width * scale;
  canvas.height = motion.height * scale;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let over = false;
  let before = -1;
  const step = (time) => {
    if (over) return;
    const index = still ? 0 : Math.floor((time / 1000) * motion.fps) % motion.keypoints.length;
    if (index !== before && canvas.isConnected) {
      before = index;
      drawAlone(canvas, motion, index, scale, 0.9);
    }
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
  return () => { over = true; };
}
