import { defineConfig } from 'vite';

// Relative addresses everywhere: the page lives under whatever prefix the hub gives the service.
export default defineConfig({
  base: './',
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  build: {
    outDir: 'dist',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022'
  }
});
