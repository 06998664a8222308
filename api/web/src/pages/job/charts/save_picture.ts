// A chart as a PNG file, as it stands on the page.

/** Saves the plot inside `figure` under its heading, on the figure's own background. */
export function savePicture(figure: HTMLElement, title: string): void {
  const plot = figure.querySelector("canvas");
  if (!plot) return;
  const { backgroundColor, color, fontFamily } = getComputedStyle(figure);
  const ratio = plot.width / plot.clientWidth;
  const edge = 16 * ratio;
  const head = 40 * ratio;
  const picture = document.createElement("canvas");
  picture.width = plot.width + 2 * edge;
  picture.height = plot.height + head + edge;
  const pen = picture.getContext("2d");
  if (!pen) return;
  pen.fillStyle = backgroundColor;
  pen.fillRect(0, 0, picture.width, picture.height);
  pen.fillStyle = color;
  pen.font = `600 ${15 * ratio}px ${fontFamily}`;
  pen.fillText(title, edge, head - 12 * ratio);
  pen.drawImage(plot, edge, head);
  const link = document.createElement("a");
  link.download = `${title}.png`;
  link.href = picture.toDataURL("image/png");
  link.click();
}
