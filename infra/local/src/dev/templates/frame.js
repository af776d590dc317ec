const frame = document.getElementById("mail");
const fit = () => {
  const page = frame.contentDocument && frame.contentDocument.documentElement;
  if (page) frame.style.height = page.scrollHeight + "px";
};
frame.addEventListener("load", fit);
window.addEventListener("resize", fit);
fit();
