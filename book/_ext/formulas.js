/* Sets formulas with MathJax, in Node while the book is built: reads [[TeX, display], ...] from
   stdin, writes {"html": [...], "css": "..."} to stdout. The argument is MathJax's folder. */

const { readFileSync } = require("fs");

const folder = process.argv[2];
console.warn = () => {}; // liteDOM states no version, and MathJax says so each time

require(`${folder}/node-main.js`)
  .init({
    loader: { load: ["input/tex-full", "output/chtml", "adaptors/liteDOM", "a11y/assistive-mml"] },
    // Without noundefined and noerrors a misspelt macro is an error, not red text.
    tex: { packages: ["base", "ams", "newcommand", "boldsymbol", "mathtools", "cancel"] },
    chtml: { fontURL: "mathjax", adaptiveCSS: false },
    startup: { typeset: false },
  })
  .then((MathJax) => {
    const adaptor = MathJax.startup.adaptor;
    const set = ([tex, display]) => adaptor.outerHTML(MathJax.tex2chtml(tex, { display }));
    const html = JSON.parse(readFileSync(0, "utf-8")).map(set);
    const css = adaptor.textContent(MathJax.chtmlStylesheet());
    process.stdout.write(JSON.stringify({ html, css }));
  })
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
