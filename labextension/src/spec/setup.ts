// Lumino's drag and drop wants these when it is loaded; jsdom has none.
const page = globalThis as any;
page.DragEvent ??= class extends Event {};
page.IS_REACT_ACT_ENVIRONMENT = true;
